// One wish and one vendor, as one of the two sees it ("Threads" in protocol/README.md). Messages come in any order and
// any number of times.
import { KINDS } from './bodies.mjs'
import { hex } from './protocol.mjs'

const MOST_WAITING = 8, MOST_OFFERS = 64
const MOVES = {
  'offer.withdraw': ['OFFERED', 'WITHDRAWN'], decline: ['OFFERED', 'DECLINED'], accept: ['OFFERED', 'ACCEPTED'],
  confirm: ['ACCEPTED', 'CONFIRMED'], reject: ['ACCEPTED', 'REJECTED'],
}
// Higher seq, then lower id: of offers, and of revisions.
const newer = (a, b) => a.head.seq !== b.head.seq ? a.head.seq > b.head.seq : Buffer.compare(a.id, b.id) < 0

export class Thread {
  #messages = new Map() // id -> message that was put in
  #waiting = new Map() // id -> message whose ref is not here yet
  #talks = new Map() // id of the offer -> {offer, state, accept, answer}
  #revision = null
  #closed = false

  // side: 'requester' or 'vendor'; root, requester and vendor are bytes.
  constructor ({ side, root, requester, vendor }) {
    Object.assign(this, { side, root: hex(root), requester: hex(requester), vendor: hex(vendor) })
  }

  states (now) {
    this.#pass(now)
    return Object.fromEntries([...this.#talks].map(([id, talk]) => [id, talk.state]))
  }

  // early: it waits for what it names. dropped: too many wait; it is neither kept nor acked. owes: the code of the problem
  // to answer with instead of an ack, or `superseded`: an ack, and a reject. Nothing is owed for words of one's own, nor
  // later for what waited: that was acked when it came.
  add (message, now) {
    const id = hex(message.id), nothing = { early: false, dropped: false, owes: null }
    this.#pass(now)
    if (this.#messages.has(id) || !this.#belongs(message)) return nothing
    if (this.#mustWait(message)) {
      if (!this.#waiting.has(id) && this.#waiting.size === MOST_WAITING) return { ...nothing, dropped: true }
      this.#waiting.set(id, message)
      return { ...nothing, early: true }
    }
    const owes = this.#put(id, message, now)
    for (const [otherId, other] of [...this.#waiting]) {
      if (hex(other.head.ref) === id && this.#waiting.delete(otherId)) this.add(other, now)
    }
    return { ...nothing, owes: hex(message.key) === this[this.side] ? null : owes }
  }

  #belongs ({ id, key, head }) {
    const author = hex(key), { sender } = KINDS[head.kind]
    if (hex(head.kind === 'intent' ? id : head.root) !== this.root) return false
    return sender === 'either' ? [this.requester, this.vendor].includes(author) : author === this[sender]
  }
  // A wish may come after its offers, and a revision after its own revision.
  #mustWait ({ head }) {
    return KINDS[head.kind].realm === 'direct' && head.kind !== 'offer' && !this.#messages.has(hex(head.ref))
  }

  #pass (now) {
    for (const talk of this.#talks.values()) {
      if (talk.state === 'OFFERED' && now >= talk.offer.head.exp) talk.state = 'VOID'
      if (talk.state === 'ACCEPTED' && now >= talk.accept.head.exp) talk.state = 'LAPSED'
    }
  }

  #put (id, message, now) {
    const { head } = message
    if (head.kind === 'offer' && this.#talks.size === MOST_OFFERS) return 'state'
    if (head.kind === 'offer' && this.#tooLate(message)) return 'lapsed'
    this.#messages.set(id, message)
    switch (head.kind) {
      case 'intent': case 'intent.update': return this.#revise(message)
      case 'intent.close': return this.#close()
      case 'offer': return this.#offer(id, message, now)
      case 'ack': return null // read when an accept comes
      case 'problem': return this.#problem(message)
    }
    const named = this.#messages.get(hex(head.ref))
    if (!KINDS[head.kind].answers.includes(named.head.kind)) return 'state'
    if (head.kind === 'accept') return this.#accept(message, now)
    if (head.kind === 'confirm' || head.kind === 'reject') return this.#answerAccept(message)
    const talk = this.#talks.get(hex(head.ref)), [from, to] = MOVES[head.kind]
    if (talk.state === from) talk.state = to
    return null
  }

  // What voids at the requester only: a vendor's offer stands until its exp.
  #outdated (offer) {
    if (this.side !== 'requester') return false
    return this.#closed || this.#revision !== null && hex(offer.head.ref) !== hex(this.#revision.id)
  }
  #voidOutdated () {
    for (const talk of this.#talks.values()) if (talk.state === 'OFFERED' && this.#outdated(talk.offer)) talk.state = 'VOID'
    return null
  }
  #revise (message) {
    if (!this.#revision || newer(message, this.#revision)) this.#revision = message
    return message.head.kind === 'intent.update' ? this.#voidOutdated() : null
  }
  #close () {
    this.#closed = true
    return this.#voidOutdated()
  }

  // A wish that collects offers until an hour knows none that was made later.
  #tooLate ({ head }) {
    if (this.side !== 'requester' || !this.#revision || hex(head.ref) !== hex(this.#revision.id)) return false
    const hour = this.#revision.head.body.offers_by
    return hour !== undefined && head.at >= hour
  }

  #offer (id, message, now) {
    let state = now >= message.head.exp || this.#outdated(message) ? 'VOID' : 'OFFERED'
    for (const talk of this.#talks.values()) {
      if (newer(talk.offer, message)) state = 'VOID'
      else if (talk.state === 'OFFERED') talk.state = 'VOID'
    }
    this.#talks.set(id, { offer: message, state, accept: null, answer: null })
    return null
  }

  #accept (message, now) {
    const talk = this.#talks.get(hex(message.head.ref)), { offer } = talk
    if (talk.accept || message.head.exp > offer.head.exp || now >= offer.head.exp) return 'state'
    if (talk.state !== 'OFFERED') {
      const replaced = talk.state === 'VOID' && [...this.#talks.values()].some(other => newer(other.offer, offer))
      if (this.side !== 'vendor' || !(talk.state === 'WITHDRAWN' || replaced || talk.turnedAway)) return 'state'
      if (this.#knewBetter(message, offer)) return 'superseded'
    }
    talk.accept = message
    talk.state = 'ACCEPTED'
    return null
  }
  // Whether the requester had acknowledged, before it accepted, that the offer was withdrawn or replaced.
  #knewBetter (accept, offer) {
    return [...this.#messages.values()].some(m => {
      if (m.head.kind !== 'ack' || hex(m.key) !== this.requester || m.head.seq >= accept.head.seq) return false
      const named = this.#messages.get(hex(m.head.ref))
      return named.head.kind === 'offer' ? newer(named, offer)
        : named.head.kind === 'offer.withdraw' && hex(named.head.ref) === hex(offer.id)
    })
  }

  #talkOf (acceptId) {
    return [...this.#talks.values()].find(t => t.accept && hex(t.accept.id) === acceptId)
  }
  #answerAccept (message) {
    const talk = this.#talkOf(hex(message.head.ref))
    if (!talk || talk.answer) return 'state'
    if (talk.state === 'LAPSED') return 'lapsed'
    talk.answer = message
    talk.state = MOVES[message.head.kind][1]
    return null
  }

  // Two move anything, and only at the vendor: what turns an open offer away, and a `lapsed` about a confirm that nobody
  // acknowledged.
  #problem ({ key, head }) {
    const confirm = this.#messages.get(hex(head.ref)), offered = this.#talks.get(hex(head.ref))
    if (this.side === 'vendor' && hex(key) === this.requester && offered?.state === 'OFFERED') {
      Object.assign(offered, { state: 'VOID', turnedAway: true })
      return null
    }
    if (this.side !== 'vendor' || hex(key) !== this.requester || head.body.code !== 'lapsed' || confirm.head.kind !== 'confirm') return null
    const acked = [...this.#messages.values()].some(m =>
      m.head.kind === 'ack' && hex(m.key) === this.requester && hex(m.head.ref) === hex(head.ref))
    const talk = this.#talkOf(hex(confirm.head.ref))
    if (!acked && talk?.answer === confirm && talk.state === 'CONFIRMED') talk.state = 'LAPSED'
    return null
  }
}
