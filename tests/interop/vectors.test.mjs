// What this program makes of tests/vectors/*.json, which was written by another one: the same bytes, the same verdicts.
// Reasons are the other program's words; only verdicts are compared.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'

import { decode, encode, hex, Refused, sameBytes, unhex } from './codec.mjs'
import * as p from './protocol.mjs'
import { Thread } from './thread.mjs'

const load = (name) => JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url), 'utf8'))

// Bytes are hex; { hex, zeros } and { hex, ones } are followed by so many bytes 00 or 01.
const bytesOf = (short) =>
  typeof short === 'string'
    ? unhex(short)
    : unhex(short.hex + '00'.repeat(short.zeros ?? 0) + '01'.repeat(short.ones ?? 0))

// {"$bin": hex} are bytes, {"$int": digits} an integer beyond 2^53.
function untagged (value) {
  if (Array.isArray(value)) return value.map(untagged)
  if (value === null || typeof value !== 'object') return value
  const keys = Object.keys(value)
  if (keys.length === 1 && keys[0] === '$bin') return unhex(value.$bin)
  if (keys.length === 1 && keys[0] === '$int') return BigInt(value.$int)
  return new Map(keys.map((key) => [key, untagged(value[key])]))
}

// As assert.deepEqual, but a Buffer is no different from other bytes, and order in maps does not count.
function assertSame (found, wanted) {
  assert.equal(hex(encode(found)), hex(encode(wanted)))
}

const refuses = (what, words) => assert.throws(what, (error) => error instanceof Refused, words)
const isFilled = (list) => assert.ok(list.length > 0, 'no vectors')

// Runs all of a list and says how many failed and which, not only the first.
function each (list, check) {
  isFilled(list)
  const failed = []
  for (const vector of list) {
    try {
      check(vector)
    } catch (error) {
      failed.push(`${vector.name ?? JSON.stringify(vector).slice(0, 80)}: ${error.message}`)
    }
  }
  assert.deepEqual(failed, [])
}

test('every value has these bytes, and they decode to it', () => {
  each(load('codec').good, ({ value, hex: bytes }) => {
    assert.equal(hex(encode(untagged(value))), bytes)
    assertSame(decode(unhex(bytes), p.MAX_ITEM), untagged(value))
  })
})

test('no other bytes are believed', () => {
  each(load('codec').refused, ({ hex: bytes }) => refuses(() => decode(bytesOf(bytes), p.MAX_ITEM)))
})

test('names are computed alike', () => {
  const ids = load('ids')
  each(ids.gossip_message_ids, (it) => assert.equal(hex(p.gossipId(it.topic, unhex(it.data))), it.id))
  each(ids.stamps, (it) => {
    const id = p.idOf(unhex(it.key), unhex(it.payload))
    assert.equal(hex(id), it.id)
    assert.equal(p.trailingZeroBits(id), it.bits)
    assert.equal(hex(decode(unhex(it.payload), 8192).get('stamp')), it.stamp)
  })
  each(ids.item_stamps, (it) => assert.equal(p.itemStampBits(unhex(it.digest), unhex(it.stamp)), it.bits))
  each(ids.keys, (it) => {
    const key = p.signingKey(unhex(it.seed)).public
    assert.equal(hex(key), it.key)
    assert.equal(p.didKey(key), it.did)
    assert.equal(p.peerIdText(key), it.peer_id)
  })
  each(ids.boxes, (it) => assert.equal(hex(p.boxKey(unhex(it.secret)).public), it.key))
})

test('catch-up lists in the order of the asker’s salt, and streams carry lengths', () => {
  const { catch_up_order: order, stream_values: values } = load('ids')
  const places = order.ids.map((id) => ({ position: hex(p.blake2b(unhex(order.salt), unhex(id))), id }))
  places.sort((one, other) => (one.position < other.position ? -1 : 1))
  assert.deepEqual(places, order.order)
  each(values, (it) => {
    const value = unhex(it.value)
    assert.equal(hex(encode(decode(value, p.MAX_ITEM))), it.value)
    assert.equal(hex(p.withLength(value)), it.on_stream)
    const stream = unhex(it.on_stream + it.on_stream)
    const deframer = new p.Deframer()
    const found = [...stream].flatMap((byte) => [...deframer.feed(Uint8Array.of(byte))].map(hex))
    assert.deepEqual(found, [it.value, it.value])
  })
})

test('lengths on streams that are too large or too long are refused', () => {
  for (const bytes of ['e1d403', 'ffffffff0f', '8000', '808000', '81808000']) {
    refuses(() => [...new p.Deframer().feed(unhex(bytes))], bytes)
  }
})

test('fields become these payloads, frames and ids, and the frames verify', () => {
  each(load('frames').frames, (it) => {
    const payload = encode(untagged(it.fields))
    assert.equal(hex(payload), it.payload)
    const frame = p.sign(payload, p.signingKey(unhex(it.seed)), it.realm, it.net)
    assert.equal(hex(frame), it.frame)
    const message = p.readFrame(frame)
    assert.equal(hex(message.id), it.id)
    p.verify(message, it.realm, it.net)
    for (const realm of ['gossip', 'direct', 'address'].filter((realm) => realm !== it.realm)) {
      refuses(() => p.verify(message, realm, it.net), realm)
    }
    refuses(() => p.verify(message, it.realm, 'another'), 'another network')
  })
})

function verdictOf ({ frame, where }) {
  const board = new p.Board(where.net, where.bits)
  for (const heard of where.heard) {
    assert.equal(board.hear(unhex(heard), where.division, where.now).verdict, 'accept', 'what was heard before')
  }
  return board.hear(unhex(frame), where.division, where.now).verdict
}

test('every frame gets its verdict', () => {
  const { refused, accepted } = load('refused_frames')
  each(refused, (it) => assert.equal(verdictOf(it), it.verdict))
  each(accepted, (it) => assert.equal(verdictOf(it), it.verdict))
})

test('gossip frames of the vectors are accepted where they belong', () => {
  each(load('frames').frames.filter((it) => it.realm === 'gossip'), (it) => {
    const division = it.fields.body.category.split('.')[0]
    const found = new p.Board(it.net).hear(unhex(it.frame), division, it.fields.at)
    assert.equal(found.verdict, 'accept', found.reason)
  })
})

const endOf = (receiver) => ({
  own: p.boxKey(unhex(receiver.own)),
  ownIsBox: receiver.own_is_box,
  net: receiver.net,
  me: unhex(receiver.me),
  root: unhex(receiver.root),
  expectedAuthor: receiver.expected_author === null ? null : unhex(receiver.expected_author)
})

test('frames are padded, sealed and opened alike', () => {
  const { padding, good, hints } = load('items')
  each(padding, ([bytes, size]) => assert.equal(p.paddedSize(bytes), size))
  each(good, (it) => {
    const own = p.boxKey(unhex(it.sender_secret))
    const keys = p.sessionKeys(own, it.sender_is_box, unhex(it.to_box))
    assert.deepEqual([hex(keys.receive), hex(keys.send)], [it.sender_receives_with, it.sender_sends_with])
    const item = p.seal(unhex(it.frame), {
      own, ownIsBox: it.sender_is_box, toBox: unhex(it.to_box), n: it.n, exp: it.exp, nonce: unhex(it.nonce)
    })
    assert.equal(hex(item.tkey), it.tkey)
    assert.equal(hex(p.associatedData(item)), it.associated_data)
    assert.equal(hex(p.encodeItem(item)), it.item)
    assert.equal(hex(p.digestOf(item)), it.digest)
    const message = p.openItem(p.readItem(unhex(it.item)), endOf(it.receiver))
    assert.equal(hex(message.id), it.id)
    assert.equal(hex(message.frame), it.frame)
  })
  each(hints, (it) => {
    const hint = { digest: unhex(it.digest), code: it.code, arg: it.arg }
    assert.equal(hex(p.encodeHint(hint)), it.hint)
    const found = p.readItem(unhex(it.hint))
    assert.ok(sameBytes(found.digest, hint.digest) && found.code === hint.code && found.arg === hint.arg)
  })
})

test('no other item is opened', () => {
  each(load('items').refused, (it) => refuses(() => p.openItem(p.readItem(bytesOf(it.item)), endOf(it.receiver))))
})

test('a thread goes through the same states', () => {
  const { frames, scenarios } = load('exchange')
  each(scenarios, ({ side, steps }) => {
    const thread = new Thread(side)
    for (const step of steps) {
      if (step.id !== undefined && step.id !== null) {
        const message = p.readFrame(unhex(frames[step.id]))
        assert.equal(message.fields.get('kind'), step.kind)
        assert.deepEqual(thread.add(message, step.now), { early: step.early, owes: step.owes })
      }
      assert.deepEqual(thread.states(step.now), step.states)
    }
  })
})
