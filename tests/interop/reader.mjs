// The questions of tests/conformance/README.md, answered by this program: one JSON object a line, and one a line back.
import { createInterface } from 'node:readline'
import { decode, encode, Refused } from './codec.mjs'
import * as p from './protocol.mjs'
import { answer, fingerprint, mark, reconcile } from './reconcile.mjs'
import { Thread } from './thread.mjs'
import { receiver, tagged, value } from './vectors.mjs'

const { hex, unhex } = p

const ANSWERS = {
  decode: q => ({ value: tagged(decode(unhex(q.hex), 60000)) }),
  encode: q => ({ hex: hex(encode(value(q.value))) }),
  frame (q) {
    const data = p.makeFrame(p.signer(unhex(q.seed)), q.realm, value(q.fields))
    return { frame: hex(data), id: hex(p.parseFrame(data, 60000).id) }
  },
  hear (q) {
    const board = new p.Board(q.net, q.bits)
    for (const before of q.heard) board.hear(unhex(before), q.division, q.now)
    return { verdict: board.hear(unhex(q.frame), q.division, q.now).verdict }
  },
  message_id: q => ({ id: hex(p.messageId(q.topic, unhex(q.data))) }),
  frame_id (q) {
    const id = p.frameId(unhex(q.key), unhex(q.payload))
    return { id: hex(id), bits: p.trailingZeroBits(id) }
  },
  names (q) {
    const { key } = p.signer(unhex(q.seed))
    return { key: hex(key), did: p.did(key), peer_id: p.peerId(key) }
  },
  box: q => ({ key: hex(p.box(unhex(q.secret)).key) }),
  on_stream: q => ({ on_stream: hex(p.withLength(unhex(q.value))) }),
  seal (q) {
    const own = p.box(unhex(q.sender_secret))
    const item = p.seal(unhex(q.frame), { own, ownIsBox: q.sender_is_box, toBox: unhex(q.to_box), n: q.n, exp: q.exp, nonce: unhex(q.nonce) })
    return { item: hex(item), digest: hex(p.parseItem(item).digest) }
  },
  open: q => ({ id: hex(p.openItem(p.parseItem(unhex(q.item)), receiver(q)).id) }),
  pad: q => ({ size: p.pad(Buffer.alloc(q.length)).length }),
  item_bits: q => ({ bits: p.itemBits(unhex(q.digest), unhex(q.stamp)) }),
  hint (q) {
    const { digest, code, arg } = p.parseItem(unhex(q.hint)).hint
    return { digest: hex(digest), code, arg: Number(arg) }
  },
  evidence: q => ({ ids: p.openEvidence(unhex(q.evidence)).map(({ id }) => hex(id)) }),
  thread (q) {
    const thread = new Thread({ side: q.side, root: unhex(q.root), requester: unhex(q.requester), vendor: unhex(q.vendor) })
    return { steps: q.steps.map(({ now, frame }) => {
      let done = { early: false, dropped: false, owes: null }
      if (frame) {
        const read = p.parseFrame(unhex(frame), 60000)
        done = thread.add({ ...read, head: decode(read.payload, 60000) }, now)
      }
      return { ...done, states: thread.states(now) }
    }) }
  },
  fingerprint (q) {
    const found = fingerprint(q.ids.map(unhex), q.digits)
    return { fingerprint: hex(found), mark: hex(mark(found, unhex(q.salt))) }
  },
  catch_up (q) {
    const idsOf = division => division === q.division ? q.held.map(unhex) : []
    return { answer: hex(encode(answer(decode(unhex(q.question), 60000), idsOf))) }
  },
  async missing (q) {
    const [mine, others] = [q.held, q.held_by_other].map(ids => () => ids.map(unhex))
    const { missing } = await reconcile(async (_word, question) => answer(question, others)[1], mine, [q.division], unhex(q.salt))
    return { missing: missing.map(hex).sort() }
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const { ask, ...question } = JSON.parse(line)
  let said
  try {
    said = Object.hasOwn(ANSWERS, ask) ? await ANSWERS[ask](question) : { skip: 'not a question we know' }
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    said = { refused: true }
  }
  process.stdout.write(JSON.stringify(said) + '\n')
}
