// One side of a thread over /intentcast/direct/1 ("Direct messages" in protocol/README.md): sealed letters, acks,
// duplicates. Keeps nothing on a disk: it is a test's other party, not a node.

import { KINDS } from './bodies.mjs'
import { Refused } from './codec.mjs'
import * as p from './protocol.mjs'
import { hex } from './protocol.mjs'
import { Thread } from './thread.mjs'

export const DIRECT = '/intentcast/direct/1'
const now = () => Math.floor(Date.now() / 1000)

export class Party {
  // side: 'requester' | 'vendor'. key signs, own is the X25519 pair. other: { author, box } as far as known.
  // tell(event): what happened, for whoever drives this program. decide(message, party): what to say to it.
  constructor ({ side, net, key, own, root, other, tell, decide }) {
    Object.assign(this, { side, net, key, own, root, other, tell, decide })
    this.thread = null // there is one as soon as both keys are known
    this.wishes = [] // what is known of the wish until then
    if (other.author !== null) this.#begin()
    this.seq = 0
    this.n = 0
    this.answers = new Map() // digest of an item, and id of a message -> our answer to it, as it was sent
    this.said = [] // items of ours that want an answer
    this.stream = null
  }

  #begin () {
    const [requester, vendor] = this.side === 'vendor' ? [this.other.author, this.key.key] : [this.key.key, this.other.author]
    this.thread = new Thread({ side: this.side, root: this.root, requester, vendor })
    for (const message of this.wishes) this.thread.add(message, now())
  }

  // The wish, or its end.
  learn (message) {
    this.wishes.push(message)
    this.thread?.add(message, now())
  }

  // Listen on a stream, and speak on it from now on.
  async listen (stream) {
    this.stream = stream
    try {
      for await (const data of p.values(stream)) await this.#hear(data)
    } catch (error) {
      this.tell({ event: 'stream ended', reason: error.message })
      stream.abort(error)
    }
  }

  async #hear (data) {
    try {
      const item = p.parseItem(data)
      if (item.hint) {
        this.tell({ event: 'hint', code: item.hint.code, arg: item.hint.arg })
        return
      }
      const said = this.answers.get(hex(item.digest))
      if (said !== undefined) {
        await this.#send(said)
        return
      }
      await this.#open(item)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      this.tell({ event: 'letter refused', reason: error.reason })
    }
  }

  async #open (item) {
    const message = p.openItem(item, {
      own: this.own,
      ownIsBox: this.side === 'requester',
      net: this.net,
      me: this.key.key,
      root: this.root,
      expectedAuthor: this.other.author,
      now: now()
    })
    const { kind, ref, body } = message.head
    this.other = { author: message.key, box: item.tkey }
    if (this.thread === null) this.#begin()
    const { early, dropped, owes } = this.thread.add(message, now())
    if (dropped) return
    if (KINDS[kind].acked) await this.#answer(message, owes)
    this.tell({
      event: 'letter',
      kind,
      id: hex(message.id),
      ref: hex(ref),
      digest: hex(item.digest),
      early,
      owes,
      contact: body.contact ?? null,
      states: Object.values(this.thread.states(now()))
    })
    await this.decide(message, this)
  }

  async #answer (message, owes) {
    const id = hex(message.id)
    if (!this.answers.has(id)) {
      const head = { ref: message.id, exp: message.head.exp }
      const isProblem = owes !== null && owes !== 'superseded' // that is a reject's reason, after an ack
      const said = isProblem ? this.#write('problem', { code: owes }, head) : this.#write('ack', { digest: message.digest }, head)
      this.answers.set(id, said.item)
    }
    this.answers.set(hex(message.digest), this.answers.get(id))
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
    const message = p.speak(this.key, {
      kind,
      net: this.net,
      at: now(),
      exp,
      body,
      seq: this.seq++,
      ref,
      root: this.root,
      to: this.other.author,
      tkey: this.own.key
    })
    const ownIsBox = this.side === 'requester'
    const item = p.seal(message.data, { own: this.own, ownIsBox, toBox: this.other.box, n: this.n++, exp })
    this.thread.add(message, now())
    return { message, item }
  }

  async #send (item) {
    if (!this.stream.send(p.withLength(item))) await this.stream.onDrain()
  }
}
