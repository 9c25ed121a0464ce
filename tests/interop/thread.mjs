// One thread: a wish and one vendor, seen from one side ("Threads" in protocol/README.md).

import { hex } from './codec.mjs'

const MAX_WAITING = 8
const MAX_OFFERS = 64

const seqOf = (message) => message.fields.get('seq')
const expOf = (message) => message.fields.get('exp')
const refOf = (message) => hex(message.fields.get('ref'))
const idText = (message) => hex(message.id)

// Of two offers, or two revisions, the one that counts.
const isNewer = (one, other) =>
  seqOf(one) === seqOf(other) ? idText(one) < idText(other) : seqOf(one) > seqOf(other)

export class Thread {
  // side: 'requester' | 'vendor'
  constructor (side) {
    this.side = side
    this.here = new Set() // ids put in
    this.waiting = [] // messages that name something not here yet
    this.talks = new Map() // offer's id -> { offer, state, accept, withdrawals }
    this.revisions = new Map()
    this.closed = false
    this.acks = new Map() // what it names -> the lowest seq of an ack for it
    this.deals = new Map() // accept's id -> its talk
    this.answers = new Map() // confirm's or reject's id -> its talk
  }

  states (now) {
    this.#look(now)
    return Object.fromEntries([...this.talks].map(([id, talk]) => [id, talk.state]))
  }

  // -> { early: it waits for what it names (or is dropped, if too many wait),
  //      owes: null, a problem's code, or 'superseded': a reject }
  add (message, now) {
    this.#look(now)
    const id = idText(message)
    if (this.here.has(id) || this.waiting.some((other) => idText(other) === id)) return { early: false, owes: null }
    if (this.#mustWait(message)) {
      if (this.waiting.length < MAX_WAITING) this.waiting.push(message)
      return { early: true, owes: null }
    }
    this.here.add(id)
    let owes = this.#take(message, now)
    const ready = this.waiting.filter((other) => !this.#mustWait(other))
    this.waiting = this.waiting.filter((other) => this.#mustWait(other))
    for (const other of ready) {
      const later = this.add(other, now).owes
      owes ??= later
    }
    return { early: false, owes }
  }

  #mustWait (message) {
    const kind = message.fields.get('kind')
    return !kind.startsWith('intent') && kind !== 'offer' && !this.here.has(refOf(message))
  }

  // Time alone.
  #look (now) {
    for (const talk of this.talks.values()) {
      if (talk.state === 'OFFERED' && now >= expOf(talk.offer)) talk.state = 'VOID'
      if (talk.state === 'ACCEPTED' && now >= expOf(talk.accept)) talk.state = 'LAPSED'
    }
  }

  #take (message, now) {
    const kind = message.fields.get('kind')
    switch (kind) {
      case 'intent':
      case 'intent.update': return this.#onRevision(message)
      case 'intent.close': return this.#onClose()
      case 'offer': return this.#onOffer(message, now)
      case 'offer.withdraw': return this.#onWithdraw(message)
      case 'decline': return this.#onDecline(message)
      case 'accept': return this.#onAccept(message, now)
      case 'confirm':
      case 'reject': return this.#onAnswer(message, kind, now)
      case 'ack': return this.#onAck(message)
      case 'problem': return this.#onProblem(message)
    }
  }

  #newestRevision () {
    return [...this.revisions.values()].reduce((best, each) => (best && !isNewer(each, best) ? best : each), null)
  }

  // At the requester only: for a vendor, its offer stands until its exp.
  #voidOlder () {
    if (this.side !== 'requester') return
    const newest = this.#newestRevision()
    for (const talk of this.talks.values()) {
      const older = newest !== null && refOf(talk.offer) !== idText(newest)
      if (talk.state === 'OFFERED' && (this.closed || older)) talk.state = 'VOID'
    }
  }

  #onRevision (message) {
    this.revisions.set(idText(message), message)
    this.#voidOlder()
    return null
  }

  #onClose () {
    this.closed = true
    this.#voidOlder()
    return null
  }

  #onOffer (message, now) {
    if (this.talks.size >= MAX_OFFERS) return 'state'
    this.talks.set(idText(message), { offer: message, state: 'OFFERED', accept: null, withdrawals: [] })
    const live = [...this.talks.values()].reduce((best, talk) => (isNewer(talk.offer, best.offer) ? talk : best))
    for (const talk of this.talks.values()) {
      if (talk !== live && talk.state === 'OFFERED') talk.state = 'VOID'
    }
    this.#voidOlder()
    this.#look(now)
    return null
  }

  #onWithdraw (message) {
    const talk = this.talks.get(refOf(message))
    if (talk === undefined) return 'state'
    talk.withdrawals.push(idText(message))
    if (talk.state === 'OFFERED') talk.state = 'WITHDRAWN'
    return null
  }

  #onDecline (message) {
    const talk = this.talks.get(refOf(message))
    if (talk === undefined) return 'state'
    if (talk.state === 'OFFERED') talk.state = 'DECLINED'
    return null
  }

  #onAccept (message, now) {
    const talk = this.talks.get(refOf(message))
    if (talk === undefined || talk.accept !== null || expOf(message) > expOf(talk.offer)) return 'state'
    const newer = [...this.talks.values()].filter((other) => isNewer(other.offer, talk.offer))
    const isCrossed = talk.state === 'WITHDRAWN' || (talk.state === 'VOID' && newer.length > 0 && now < expOf(talk.offer))
    if (this.side === 'vendor' && isCrossed) {
      const undone = [...talk.withdrawals, ...newer.map((other) => idText(other.offer))]
      if (undone.some((id) => this.acks.get(id) < seqOf(message))) return 'superseded'
    } else if (talk.state !== 'OFFERED') return 'state'
    talk.accept = message
    this.deals.set(idText(message), talk)
    talk.state = 'ACCEPTED'
    this.#look(now)
    return null
  }

  #onAnswer (message, kind, now) {
    const talk = this.deals.get(refOf(message))
    if (talk?.state === 'LAPSED') return 'lapsed'
    if (talk?.state !== 'ACCEPTED') return 'state'
    this.answers.set(idText(message), talk)
    talk.state = kind === 'confirm' ? 'CONFIRMED' : 'REJECTED'
    return null
  }

  #onAck (message) {
    const about = refOf(message)
    this.acks.set(about, Math.min(Number(seqOf(message)), this.acks.get(about) ?? Infinity))
    return null
  }

  #onProblem (message) {
    const about = refOf(message)
    const talk = this.answers.get(about)
    if (this.side === 'vendor' && message.fields.get('body').get('code') === 'lapsed' && talk?.state === 'CONFIRMED') {
      if (!this.acks.has(about)) talk.state = 'LAPSED'
    }
    return null
  }
}
