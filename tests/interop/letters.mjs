// One side of a thread over /intentcast/direct/1 ("Direct messages" in protocol/README.md): sealed letters, acks,
// duplicates. Keeps nothing on a disk: it is a test's other party, not a node.

import { KINDS } from './bodies.mjs'
import { hex, Refused } from './codec.mjs'
import * as p from './protocol.mjs'
import { Thread } from './thread.mjs'

export const DIRECT = '/intentcast/direct/1'
const now = () => Math.floor(Date.now() / 1000)

export class Party {
  // side: 'requester' | 'vendor'. key signs, own is the X25519 pair. other: { author, box } as far as known.
  // tell(event): what happened, for whoever drives this program. decide(message, party): what to say to it.
  constructor ({ side, net, key, own, root, other, tell, decide }) {
    Object.assign(this, { side, net, key, own, root, other, tell, decide })
    this.thread = new Thread(side)
    this.seq = 0
    this.n = 0
    this.answers = new Map() // digest of an item, and id of a message -> our answer to it, as it was sent
    this.said = [] // items of ours that want an answer
    this.stream = null
  }

  // Listen on a stream, and speak on it from now on.
  async listen (stream) {
    this.stream = stream
    const deframer = new p.Deframer()
    try {
      for await (const chunk of stream) {
        for (const data of deframer.feed(chunk.subarray())) await this.#hear(data)
      }
    } catch (error) {
      this.tell({ event: 'stream ended', reason: error.message })
      stream.abort(error)
    }
  }

  async #hear (data) {
    try {
      const item = p.readItem(data)
      if (item.code !== undefined) {
        this.tell({ event: 'hint', code: item.code, arg: item.arg })
        return
      }
      const digest = p.digestOf(item)
      const said = this.answers.get(hex(digest))
      if (said !== undefined) {
        await this.#send(said)
        return
      }
      if (item.exp <= now()) throw new Refused('expired')
      await this.#open(item, digest)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      this.tell({ event: 'letter refused', reason: error.reason })
    }
  }

  async #open (item, digest) {
    const message = p.openItem(item, {
      own: this.own,
      ownIsBox: this.side === 'requester',
      net: this.net,
      me: this.key.public,
      root: this.root,
      expectedAuthor: this.other.author
    })
    const { fields } = message
    const kind = fields.get('kind')
    if (p.isEarly(fields, now())) throw new Refused('early')
    this.other = { author: message.author, box: item.tkey }
    const { early, owes } = this.thread.add(message, now())
    if (KINDS[kind].acked) await this.#answer(message, digest, owes)
    this.tell({
      event: 'letter',
      kind,
      id: hex(message.id),
      ref: hex(fields.get('ref')),
      digest: hex(digest),
      early,
      owes,
      contact: fields.get('body').get('contact') ?? null,
      states: Object.values(this.thread.states(now()))
    })
    await this.decide(message, this)
  }

  async #answer (message, digest, owes) {
    const id = hex(message.id)
    if (!this.answers.has(id)) {
      const head = { ref: message.id, exp: message.fields.get('exp') }
      const isProblem = owes !== null && owes !== 'superseded' // that is a reject's reason, after an ack
      const said = isProblem ? this.#write('problem', { code: owes }, head) : this.#write('ack', { digest }, head)
      this.answers.set(id, said.item)
    }
    this.answers.set(hex(digest), this.answers.get(id))
    await this.#send(this.answers.get(id))
  }

  // Say something that wants an answer. -> its message
  async post (kind, body, head) {
    const { message, item } = this.#write(kind, body, head)
    this.said.push(item)
    await this.#send(item)
    return message
  }

  // Say all of it again, byte for byte.
  async repeat () {
    for (const item of this.said) await this.#send(item)
  }

  #write (kind, body, { ref, exp }) {
    const message = p.speak({
      kind,
      net: this.net,
      by: this.key,
      at: now(),
      exp,
      body,
      seq: this.seq++,
      ref,
      root: this.root,
      to: this.other.author,
      tkey: this.own.public
    })
    const ownIsBox = this.side === 'requester'
    const item = p.seal(message.frame, { own: this.own, ownIsBox, toBox: this.other.box, n: this.n++, exp })
    this.thread.add(message, now())
    return { message, item: p.encodeItem(item) }
  }

  async #send (item) {
    if (!this.stream.send(p.withLength(item))) await this.stream.onDrain()
  }
}
