// What this program makes of threads in random order, and of damaged frames and letters: asked of the other one too.
//   node questions.mjs <seed> <how many of each>      -> JSON

import { createHash } from 'node:crypto'

import { Refused } from './codec.mjs'
import * as p from './protocol.mjs'
import { hex } from './protocol.mjs'
import { Thread } from './thread.mjs'

const [seed, many] = process.argv.slice(2).map(Number)
let dice = seed
const random = n => (dice = (Math.imul(dice, 1664525) + 1013904223) >>> 0, Math.floor(dice / 2 ** 32 * n))
const pick = list => list[random(list.length)]
const sha = words => createHash('sha256').update(words).digest()

const NOW = 1800000000, net = 'test'
const alice = p.signer(sha('alice')), bob = p.signer(sha('bob')), mallory = p.signer(sha('mallory'))
const box = p.box(sha('box')), tkey = p.box(sha('tkey'))

// ---- everything two people, and a third, could say about one wish

const said = new Map() // id -> message
function say (author, kind, fields) {
  const salt = sha(`salt ${said.size}`).subarray(0, 16)
  const message = p.speak(author, { kind, net, at: NOW, exp: NOW + 1000, salt, ...fields })
  said.set(hex(message.id), message)
  return message
}
const stamp = Buffer.alloc(8)
const wish = { action: 'rent', category: 'mobility.car', title: 'A car', box: box.key }
const intent = say(alice, 'intent', { stamp, body: wish }), root = intent.id
const revise = (seq, ref, author = alice) => say(author, 'intent.update', { seq, stamp, ref, root, body: wish }).id
const revisions = [root, revise(3, root), revise(5, root), revise(5, root)]
revise(9, root, mallory)
for (const author of [alice, mallory]) {
  say(author, 'intent.close', { seq: 12, stamp, root, body: { category: 'mobility', reason: 'withdrawn' } })
}
function write (author, kind, ref, seq, body, exp = 5000) {
  const [to, key] = author === bob ? [alice.key, tkey.key] : [bob.key, box.key]
  return say(author, kind, { ref, root, to, tkey: key, seq, exp: NOW + exp, body }).id
}
const offerBody = {
  vendor: { name: 'B' }, category: 'mobility.car', total: { minor: 1, currency: 'EUR' },
  lines: [{ title: 'a', count: 1, unit: 'u', price: 1, amount: 1 }],
}
const offers = [[root, 1, 1000], [root, 2, 1000], [root, 2, 500], [revisions[1], 4, 1000], [revisions[2], 6, 1000],
  [sha('a revision nobody has seen'), 7, 1000]].map(([ref, seq, exp]) => write(bob, 'offer', ref, seq, offerBody, exp))
const withdrawals = offers.map(offer => write(bob, 'offer.withdraw', offer, 8, {}))
for (const offer of offers) write(alice, 'decline', offer, 4, {})
const accepts = offers.flatMap(offer => [[3, 300], [6, 500], [7, 2000]].map(([seq, exp]) =>
  write(alice, 'accept', offer, seq, { contact: 'c' }, exp)))
const confirms = accepts.map((accept, i) => write(bob, 'confirm', accept, 10 + i, { contact: 'c' }))
const rejects = accepts.map((accept, i) => write(bob, 'reject', accept, 40 + i, { reason: 'terms' }))
for (const about of [...offers, ...withdrawals, ...confirms]) {
  for (const seq of [2, 5, 8]) write(alice, 'ack', about, seq, { digest: about })
}
for (const about of [...confirms, ...rejects]) {
  for (const code of ['lapsed', 'state']) write(alice, 'problem', about, 20, { code })
}
write(bob, 'confirm', offers[0], 70, { contact: 'c' }) // of the wrong sort
write(bob, 'offer.withdraw', accepts[0], 71, {})
write(alice, 'decline', accepts[0], 71, {})

// ---- threads

// Some of an offer or two and what names them, directly or not: of all at random, most would only wait.
function aStory () {
  const chosen = new Set([hex(root), ...Array.from({ length: 1 + random(3) }, () => hex(pick(offers)))])
  for (const [id, { head }] of said) {
    if (head.stamp ? random(3) === 0 : chosen.has(hex(head.ref)) && head.kind !== 'offer' && random(3) === 0) chosen.add(id)
  }
  const order = [...chosen]
  for (let swaps = random(2) ? 3 : 3 * order.length; swaps; swaps--) {
    const a = random(order.length), b = random(order.length);
    [order[a], order[b]] = [order[b], order[a]]
  }
  return order.slice(0, 24)
}

function play () {
  const side = pick(['requester', 'vendor'])
  const thread = new Thread({ side, root, requester: alice.key, vendor: bob.key })
  const own = side === 'vendor' ? bob.key : alice.key
  let now = NOW
  const steps = []
  for (const id of aStory()) {
    if (random(6) === 0) now += pick([1, 100, 299, 300])
    const message = said.get(id)
    if (p.isExpired(message.head, now)) continue // a thread is not given what opening drops
    const { early, dropped, owes } = thread.add(message, now)
    steps.push({ now, id, early, dropped, owes: p.same(message.key, own) ? 'own' : owes, states: thread.states(now) })
  }
  return { side, steps }
}

// ---- damage, signed anew so that what lies behind the signature is reached; a quarter is damaged after it, too

function damage (bytes) {
  const out = Buffer.from(bytes)
  for (let i = 1 + random(2); i; i--) out[random(out.length)] = pick([random(256), 0, 0xc0, 0x80 + random(16), 0x0a, 0xff])
  return out
}
const flip = bytes => { bytes[random(bytes.length)] ^= 1 << random(8); return bytes }
const public_ = [...said.values()].filter(m => m.head.stamp && p.same(m.key, alice.key))
const letters = [...said.values()].filter(m => m.head.tkey && p.same(m.key, bob.key))

function damagedFrame () {
  const data = p.frameOf(alice, 'gossip', net, damage(pick(public_).payload))
  const frame = random(4) ? data : flip(data)
  const { verdict } = new p.Board(net).hear(frame, 'mobility', NOW)
  return { frame: hex(frame), verdict }
}
function damagedItem (_, i) {
  const { payload, head } = pick(letters)
  const frame = p.frameOf(bob, 'direct', net, random(4) ? damage(payload) : payload)
  const nonce = sha(`nonce ${i}`).subarray(0, 24)
  const sealed = p.seal(frame, { own: tkey, ownIsBox: false, toBox: box.key, n: i, exp: head.exp, nonce })
  const item = random(4) ? sealed : flip(sealed)
  try {
    p.openItem(p.parseItem(item), { own: box, ownIsBox: true, net, me: alice.key, root, expectedAuthor: bob.key })
    return { item: hex(item), opens: true }
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    return { item: hex(item), opens: false }
  }
}

const times = make => Array.from({ length: many }, make)
process.stdout.write(JSON.stringify({
  now: NOW, net, root: hex(root), requester: hex(alice.key), vendor: hex(bob.key), box: hex(box.secret),
  said: Object.fromEntries([...said].map(([id, { data, head }]) =>
    [id, { frame: hex(data), realm: head.stamp ? 'gossip' : 'direct' }])),
  threads: times(play), frames: times(damagedFrame), items: times(damagedItem),
}))
