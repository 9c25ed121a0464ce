// A vendor and a requester of few words, as parties of real threads with nodes of the other program.

import { multiaddr } from '@multiformats/multiaddr'

import { hex } from './codec.mjs'
import { DIRECT, Party } from './letters.mjs'
import * as p from './protocol.mjs'

const now = () => Math.floor(Date.now() / 1000)

// Answers every wish it hears with one offer, and confirms what is accepted.
export class Vendor {
  constructor ({ libp2p, net, tell, seed, offer }) {
    Object.assign(this, { libp2p, net, tell, offer, key: p.signingKey(seed), parties: [] })
  }

  async hear (message) {
    const body = message.fields.get('body')
    const routes = (body.get('reply') ?? []).filter((route) => route.get('via') === 'direct')
    if (message.fields.get('kind') !== 'intent' || routes.length === 0) return
    const party = new Party({
      side: 'vendor',
      net: this.net,
      key: this.key,
      own: p.boxKey(p.randomKey()),
      root: message.id,
      other: { author: message.author, box: body.get('box') },
      tell: this.tell,
      decide: (letter) => this.#decide(letter, party)
    })
    this.parties.push(party)
    party.thread.add(message, now())
    const stream = await this.libp2p.dialProtocol(multiaddr(routes[0].get('addr')), DIRECT)
    party.listen(stream)
    const exp = now() + 3600
    const offered = await party.post('offer', { ...this.offer, category: body.get('category') }, { ref: message.id, exp })
    this.tell({ event: 'offered', id: hex(offered.id), intent: hex(message.id) })
  }

  async #decide (letter, party) {
    if (letter.fields.get('kind') !== 'accept' || !Object.values(party.thread.states(now())).includes('ACCEPTED')) return
    const body = { contact: 'desk@vendor.example', reference: 'JS-1' }
    const confirm = await party.post('confirm', body, { ref: letter.id, exp: letter.fields.get('exp') })
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
      other: { author: other.author, box: p.boxKey(p.randomKey()).public },
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
    Object.assign(this, { libp2p, net, tell, publish, key: p.signingKey(p.randomKey()), box: p.boxKey(p.randomKey()) })
  }

  async ask (wish) {
    const reply = [{ via: 'direct', addr: this.libp2p.getMultiaddrs()[0].toString() }]
    this.exp = now() + 3600
    this.wish = p.speak({
      kind: 'intent',
      net: this.net,
      by: this.key,
      at: now(),
      exp: this.exp,
      stamp: p.NO_STAMP,
      body: { ...wish, box: this.box.public, reply }
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
    this.party.thread.add(this.wish, now())
    await this.libp2p.handle(DIRECT, (stream) => this.party.listen(stream))
    await this.publish(p.divisionOf(wish.category), this.wish.frame)
    return hex(this.wish.id)
  }

  async #decide (letter) {
    const kind = letter.fields.get('kind')
    if (kind === 'offer') {
      const exp = Math.min(letter.fields.get('exp'), now() + 600)
      const accept = await this.party.post('accept', { contact: 'person@js.example' }, { ref: letter.id, exp })
      this.tell({ event: 'accepted', id: hex(accept.id), offer: hex(letter.id) })
    } else if (kind === 'confirm') {
      const category = p.divisionOf(this.wish.fields.get('body').get('category'))
      const close = p.speak({
        kind: 'intent.close',
        net: this.net,
        by: this.key,
        at: now(),
        exp: this.exp,
        seq: 1,
        root: this.wish.id,
        stamp: p.NO_STAMP,
        body: { category, reason: 'awarded' }
      })
      this.party.thread.add(close, now())
      await this.publish(category, close.frame)
      this.tell({ event: 'closed', id: hex(close.id) })
    }
  }
}

