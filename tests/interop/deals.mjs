// A vendor and a requester of few words, as parties of real threads with nodes of the other program.

import { multiaddr } from '@multiformats/multiaddr'

import { DIRECT, Party } from './letters.mjs'
import * as p from './protocol.mjs'
import { hex } from './protocol.mjs'

const now = () => Math.floor(Date.now() / 1000)

// Answers every wish it hears with one offer, and confirms what is accepted.
export class Vendor {
  constructor ({ libp2p, net, tell, offer }) {
    Object.assign(this, { libp2p, net, tell, offer, key: p.signer(), parties: [] })
  }

  async hear (message) {
    const { kind, body } = message.head
    const routes = (body.reply ?? []).filter((route) => route.via === 'direct')
    if (kind !== 'intent' || routes.length === 0) return
    const party = new Party({
      side: 'vendor',
      net: this.net,
      key: this.key,
      own: p.box(),
      root: message.id,
      other: { author: message.key, box: body.box },
      tell: this.tell,
      decide: (letter) => this.#decide(letter, party)
    })
    this.parties.push(party)
    party.learn(message)
    const stream = await this.libp2p.dialProtocol(multiaddr(routes[0].addr), DIRECT)
    party.listen(stream)
    const exp = now() + 3600
    const offered = await party.post('offer', { ...this.offer, category: body.category }, { ref: message.id, exp })
    this.tell({ event: 'offered', id: hex(offered.id), intent: hex(message.id) })
  }

  async #decide (letter, party) {
    if (letter.head.kind !== 'accept' || !Object.values(party.thread.states(now())).includes('ACCEPTED')) return
    const body = { contact: 'desk@vendor.example', reference: 'JS-1' }
    const confirm = await party.post('confirm', body, { ref: letter.id, exp: letter.head.exp })
    this.tell({ event: 'confirmed', id: hex(confirm.id), states: Object.values(party.thread.states(now())) })
  }

  async repeat () {
    for (const party of this.parties) await party.repeat()
  }

  async stray () {
    const [{ own, root, other }] = this.parties
    const lost = new Party({
      side: 'vendor',
      net: this.net,
      key: this.key,
      own,
      root,
      other: { author: other.author, box: p.box().key },
      tell: this.tell,
      decide: () => {}
    })
    lost.stream = this.parties[0].stream
    await lost.post('offer', { ...this.offer, category: 'mobility.car' }, { ref: root, exp: now() + 60 })
  }
}

// Asks once, accepts the first offer, and closes the wish when it is confirmed.
export class Requester {
  constructor ({ libp2p, net, tell, publish }) {
    Object.assign(this, { libp2p, net, tell, publish, key: p.signer(), box: p.box() })
  }

  async ask (wish) {
    const reply = [{ via: 'direct', addr: this.libp2p.getMultiaddrs()[0].toString() }]
    this.exp = now() + 3600
    this.wish = p.speak(this.key, {
      kind: 'intent',
      net: this.net,
      at: now(),
      exp: this.exp,
      stamp: Buffer.alloc(8),
      body: { ...wish, box: this.box.key, reply }
    })
    this.party = new Party({
      side: 'requester',
      net: this.net,
      key: this.key,
      own: this.box,
      root: this.wish.id,
      other: { author: null, box: null },
      tell: this.tell,
      decide: (letter) => this.#decide(letter)
    })
    this.party.learn(this.wish)
    await this.libp2p.handle(DIRECT, (stream) => this.party.listen(stream))
    await this.publish(p.divisionOf(wish.category), this.wish.data)
    return hex(this.wish.id)
  }

  async #decide (letter) {
    const kind = letter.head.kind
    if (kind === 'offer') {
      const exp = Math.min(letter.head.exp, now() + 600)
      const accept = await this.party.post('accept', { contact: 'person@js.example' }, { ref: letter.id, exp })
      this.tell({ event: 'accepted', id: hex(accept.id), offer: hex(letter.id) })
    } else if (kind === 'confirm') {
      const category = p.divisionOf(this.wish.head.body.category)
      const close = p.speak(this.key, {
        kind: 'intent.close',
        net: this.net,
        at: now(),
        exp: this.exp,
        seq: 1,
        root: this.wish.id,
        stamp: Buffer.alloc(8),
        body: { category, reason: 'awarded' }
      })
      this.party.learn(close)
      await this.publish(category, close.data)
      this.tell({ event: 'closed', id: hex(close.id) })
    }
  }
}

