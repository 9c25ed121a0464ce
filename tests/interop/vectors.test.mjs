// Every case of every file of tests/vectors. A file, or a part of one, that no test here knows is a failure.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { decode, encode, Refused } from './codec.mjs'
import * as p from './protocol.mjs'
import { answer, fingerprint, mark, reconcile } from './reconcile.mjs'
import { Thread } from './thread.mjs'
import { receiver, tagged, value } from './vectors.mjs'

const FOLDER = new URL('../vectors/', import.meta.url)
const raw = v => typeof v === 'string' ? p.unhex(v)
  : Buffer.concat([p.unhex(v.hex), v.zeros ? Buffer.alloc(v.zeros, 0) : Buffer.alloc(v.ones ?? 0, 1)])
const refused = run => assert.throws(run, e => e instanceof Refused) // the reason is a word of the other program

const FILES = {
  codec: {
    good (c) {
      assert.equal(p.hex(encode(value(c.value))), c.hex)
      assert.deepEqual(tagged(decode(p.unhex(c.hex), 60000)), tagged(value(c.value)))
    },
    refused (c) { refused(() => decode(raw(c.hex), 60000)) },
  },
  frames: {
    frames (c) {
      const author = p.signer(p.unhex(c.seed))
      assert.equal(p.hex(author.key), c.key)
      assert.equal(p.hex(encode(value(c.fields))), c.payload)
      assert.equal(p.hex(p.makeFrame(author, c.realm, value(c.fields))), c.frame)
      const frame = p.parseFrame(raw(c.frame), 60000)
      assert.equal(p.hex(frame.id), c.id)
      const now = c.fields.at
      if (c.realm === 'gossip') {
        const division = p.divisionOf(c.fields.body.category)
        assert.equal(p.hex(p.openGossip(raw(c.frame), { net: c.net, division, now, bits: 0 }).id), c.id)
      } else if (c.realm === 'address') {
        assert.equal(p.hex(p.openRecord(raw(c.frame), { net: c.net, now }).id), c.id)
      } else if (c.realm === 'mailbox') {
        assert.equal(p.hex(p.openToMailbox(raw(c.frame), { net: c.net }).id), c.id)
      } else {
        const item = sealedForTest(raw(c.frame), c)
        assert.equal(p.hex(item.id), c.id)
      }
    },
  },
  refused_frames: {
    refused (c) { hear(c) },
    accepted (c) { hear(c) },
  },
  ids: {
    gossip_message_ids (c) { assert.equal(p.hex(p.messageId(c.topic, p.unhex(c.data))), c.id) },
    stamps (c) {
      const id = p.frameId(p.unhex(c.key), p.unhex(c.payload))
      assert.equal(p.hex(id), c.id)
      assert.equal(p.trailingZeroBits(id), c.bits)
      assert.equal(p.hex(decode(p.unhex(c.payload), 8192).stamp), c.stamp)
    },
    item_stamps (c) { assert.equal(p.itemBits(p.unhex(c.digest), p.unhex(c.stamp)), c.bits) },
    keys (c) {
      const { key } = p.signer(p.unhex(c.seed))
      assert.deepEqual([p.hex(key), p.did(key), p.peerId(key)], [c.key, c.did, c.peer_id])
    },
    boxes (c) { assert.equal(p.hex(p.box(p.unhex(c.secret)).key), c.key) },
    stream_values (c) {
      assert.equal(p.hex(p.withLength(p.unhex(c.value))), c.on_stream)
      assert.equal(p.hex(encode(decode(p.unhex(c.value), 60000))), c.value)
      const [whole, rest] = p.splitStream(p.unhex(c.on_stream + '05'))
      assert.deepEqual([whole.map(p.hex), p.hex(rest)], [[c.value], '05'])
    },
  },
  sync: {
    fingerprints (c) {
      for (const { digits, count, fingerprint: wanted, mark: shown } of c.ranges) {
        const found = fingerprint(c.ids.map(p.unhex), digits)
        assert.equal(c.ids.filter(id => id.startsWith(digits)).length, count)
        assert.deepEqual([p.hex(found), p.hex(mark(found, p.unhex(c.salt)))], [wanted, shown])
      }
    },
    answers (c) {
      const idsOf = division => division === 'mobility' ? c.held.map(p.unhex) : []
      for (const turn of c.turns) {
        assert.equal(p.hex(encode(answer(decode(p.unhex(turn.question), 60000), idsOf))), turn.answer, turn.name)
      }
    },
    async talks (c) {
      const [mine, others] = [c.held, c.held_by_other].map(ids => () => ids.map(p.unhex))
      const ask = async (word, question) => answer(question, others)[1]
      const { missing } = await reconcile(ask, mine, [c.division], p.unhex(c.salt))
      assert.deepEqual(missing.map(p.hex).sort(), c.missing)
    },
    refused_questions (c) { refused(() => answer(decode(p.unhex(c.question), 60000), () => [])) },
  },
  items: {
    padding ([length, size]) { assert.equal(p.pad(Buffer.alloc(length)).length, size) },
    good (c) {
      const own = p.box(p.unhex(c.sender_secret)), toBox = p.unhex(c.to_box)
      const keys = p.sessionKeys(own, toBox, c.sender_is_box)
      assert.deepEqual([p.hex(keys.receive), p.hex(keys.send)], [c.sender_receives_with, c.sender_sends_with])
      const sealed = p.seal(p.unhex(c.frame), { own, ownIsBox: c.sender_is_box, toBox, n: c.n, exp: c.exp, nonce: p.unhex(c.nonce) })
      assert.equal(p.hex(sealed), c.item)
      const item = p.parseItem(p.unhex(c.item))
      assert.deepEqual([p.hex(item.digest), p.hex(item.outside), p.hex(item.tkey)], [c.digest, c.associated_data, c.tkey])
      const letter = p.openItem(item, receiver(c.receiver))
      assert.deepEqual([p.hex(letter.data), p.hex(letter.id)], [c.frame, c.id])
    },
    hints (c) {
      assert.equal(p.hex(p.makeHint(p.unhex(c.digest), c.code, c.arg)), c.hint)
      assert.deepEqual(tagged(p.parseItem(p.unhex(c.hint)).hint), tagged({ digest: p.unhex(c.digest), code: c.code, arg: c.arg }))
    },
    refused (c) { refused(() => p.openItem(p.parseItem(raw(c.item)), receiver(c.receiver))) },
  },
  evidence: {
    good (c) { assert.deepEqual(p.openEvidence(p.unhex(c.evidence)).map(({ id }) => p.hex(id)), c.ids) },
    refused (c) { refused(() => p.openEvidence(p.unhex(c.evidence))) },
  },
  exchange: {
    scenarios (c, file) {
      const [root, requester, vendor] = [file.root, file.requester, file.vendor].map(p.unhex)
      const thread = new Thread({ side: c.side, root, requester, vendor })
      for (const step of c.steps) {
        let done = { early: false, dropped: false, owes: null }
        if (step.id) {
          const frame = p.parseFrame(p.unhex(file.frames[step.id]), 60000)
          assert.equal(p.hex(frame.id), step.id)
          const head = decode(frame.payload, 60000)
          assert.equal(head.kind, step.kind)
          done = thread.add({ ...frame, head }, step.now)
        }
        const { early, dropped, owes, states } = step
        assert.deepEqual({ ...done, states: thread.states(step.now) }, { early, dropped, owes, states })
      }
    },
  },
}
// Words beside the lists: explanations, and what a list refers to.
const ASIDE = { exchange: ['root', 'requester', 'vendor', 'frames'] }

// A direct frame alone does not say which keys sealed it: seal it for keys made up here, and expect all but the tkey to fit.
function sealedForTest (frame, c) {
  const box = p.box(), tkey = p.box(), head = value(c.fields)
  const author = p.signer(p.unhex(c.seed)), mine = p.makeFrame(author, c.realm, { ...head, tkey: tkey.key })
  const toBoxSide = ['offer', 'offer.withdraw', 'confirm', 'reject'].includes(head.kind)
  const item = p.parseItem(p.seal(mine, { own: tkey, ownIsBox: !toBoxSide, toBox: box.key, n: 0, exp: head.exp }))
  p.openItem(item, { own: box, ownIsBox: toBoxSide, net: c.net, me: head.to, root: head.root, expectedAuthor: author.key, now: head.at })
  return p.parseFrame(frame, 60000)
}

function hear (c) {
  const { net, division, now, bits, heard } = c.where
  const board = new p.Board(net, bits)
  for (const before of heard) assert.equal(board.hear(raw(before), division, now).verdict, 'accept')
  const { verdict, reason } = board.hear(raw(c.frame), division, now)
  assert.equal(verdict, c.verdict, `${c.name}: ${reason}`)
}

for (const name of readdirSync(FOLDER).filter(n => n.endsWith('.json')).map(n => n.slice(0, -5))) {
  const file = JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER))), parts = FILES[name]
  test(name, async t => {
    assert.ok(parts, `no test knows ${name}.json`)
    for (const [part, cases] of Object.entries(file)) {
      if (part === 'about' || ASIDE[name]?.includes(part)) continue
      assert.ok(parts[part], `no test knows ${name}.json, ${part}`)
      for (const [i, c] of (Array.isArray(cases) ? cases : [cases]).entries()) {
        await t.test(`${part}: ${c.name ?? i}`, () => parts[part](c, file))
      }
    }
  })
}

// Ed25519 and X25519 as others test them. What these flags of CCTV mean is refused, and nothing else of it.
const REFUSED = ['low_order_A', 'low_order_R', 'non_canonical_A', 'non_canonical_R', 'low_order_residue']
const borrowed = name => JSON.parse(readFileSync(new URL(`ed25519/${name}.json`, FOLDER))).vectors
test('signatures that libraries disagree about', () => {
  for (const [number, key, signature, message, flags] of borrowed('cctv')) {
    const right = !flags.some(flag => REFUSED.includes(flag))
    assert.equal(p.verifies(p.unhex(key), p.unhex(signature), Buffer.from(message)), right, `${number}: ${flags}`)
  }
  for (const [number, key, signature, message, flags, result] of borrowed('wycheproof')) {
    const fits = key.length === 64 && signature.length === 128 // other lengths are no frame
    const right = fits && p.verifies(p.unhex(key), p.unhex(signature), p.unhex(message))
    assert.equal(right, result === 'valid', `${number}: ${flags}`)
  }
})

test('lengths on streams that are too large, or longer than needed', () => {
  for (const bytes of ['e1d403', 'ffffffff0f', '8000', '808000', '81808000']) refused(() => p.splitStream(p.unhex(bytes)))
})
