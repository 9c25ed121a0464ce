// The bodies of the kinds, as data. A check is a function from a value to true or false; unknown keys pass.
import { isBytes, isInt, isMap } from './codec.mjs'

const chars = s => { let n = 0; for (const _ of s) n++; return n } // code points, not UTF-16 units
export const int = (low, high) => v => isInt(v) && (low === undefined || v >= low) && (high === undefined || v <= high)
export const bytes = n => v => isBytes(v, n)
export const bool = v => typeof v === 'boolean'
export const text = (most, pattern) => v => typeof v === 'string' && v !== '' && chars(v) <= most && (!pattern || pattern.test(v))
const one = (...words) => v => typeof v === 'string' && words.includes(v)
const list = (low, high, check) => v => Array.isArray(v) && v.length >= low && v.length <= high && v.every(x => check(x))
const opt = check => v => v === undefined || check(v)
// `fits` sees the map once every field is well-formed by itself
export const map = (fields, fits = () => true) => v =>
  isMap(v) && Object.entries(fields).every(([name, check]) => check(v[name])) && fits(v)

const MINOR = 10 ** 15 // exact in a double
const name = text(32, /^[a-z0-9_]{1,32}$/)
const unit = text(16, /^[A-Za-z0-9%/_.-]{1,16}$/)
const label = text(80), title = text(200), note = text(1000), contact = text(500)
const peer = text(64, /^[A-Za-z0-9]{32,64}$/)
const amount = int(0, MINOR), signedAmount = int(-MINOR, MINOR)
export const DIVISION = /^[a-z0-9-]{1,32}$/
const category = text(164, /^[a-z0-9-]{1,32}(\.[a-z0-9-]{1,32}){0,4}$/)

const single = v => int()(v) || bool(v) || label(v)
const property = map({
  name, op: one('eq', 'in', 'min', 'max', 'range'), need: one('must', 'want', 'avoid'),
  unit: opt(unit), weight: opt(int(0, 100)),
}, ({ op, value }) => ({
  eq: single, in: list(1, 16, single), min: int(), max: int(),
  range: v => list(2, 2, int())(v) && v[0] <= v[1],
}[op])(value))

// Pattern first, then the calendar: Date would roll 30 February over, which the comparison shows. Years 0 to 99 are
// made by setUTCFullYear, since Date.UTC takes them for 1900 and later.
function realDay (v) {
  const [year, month, day] = v.slice(0, 10).split('-').map(Number)
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  return year >= 1 && date.getUTCMonth() === month - 1 && date.getUTCDate() === day
}
const localTime = v => text(16, /^[0-9]{4}-[0-9]{2}-[0-9]{2}(T([01][0-9]|2[0-3]):[0-5][0-9])?$/)(v) && realDay(v)
const moment = v => v.length === 10 ? v + 'T00:00' : v
const when = map({
  start: localTime, end: localTime, tz: text(64, /^[A-Za-z0-9_+/-]+$/), flex: opt(int(0, 1209600)),
}, ({ start, end }) => moment(start) < moment(end))
const place = map({
  code: opt(text(40, /^[a-z0-9-]{1,20}:[A-Za-z0-9._-]{1,19}$/)),
  cells: opt(list(0, 16, text(8, /^[0-9b-hjkmnp-z]{1,8}$/))),
  label: opt(label),
}, ({ code, cells }) => code !== undefined || cells?.length > 0)
const where = map({ at: place, to: opt(place), radius: opt(int(0, 20000)) })
const money = map({ minor: amount, currency: text(3, /^[A-Z]{3}$/) })
const routes = list(0, 4, map({
  via: one('direct', 'relay', 'mailbox'),
  addr: text(200, /^(\/[A-Za-z0-9:._/-]+)?\/p2p\/[A-Za-z0-9]{32,64}$/),
}))

const line = map({ title, count: int(1, 1000000), unit: label, price: signedAmount, amount: signedAmount },
  v => BigInt(v.amount) === BigInt(v.count) * BigInt(v.price)) // up to 10^21: more than a double or an int64 holds
const fee = map({ name: label, amount })
const offerFits = v => {
  const sum = [...v.lines, ...v.fees ?? []].reduce((s, x) => s + BigInt(x.amount), 0n)
  return sum === BigInt(v.total.minor)
}

export const BODIES = {
  Intent: map({
    action: one('buy', 'rent', 'hire', 'book', 'repair'), category, title, box: bytes(32), note: opt(note),
    props: opt(list(0, 32, property)), quantity: opt(int(1, 1000000)), when: opt(when), where: opt(where),
    limit: opt(money), offers_by: opt(int(0)), spread: opt(int(0, 600)), max_offers: opt(int(1, 100)),
    award: opt(one('one')), terms: opt(list(0, 8, text(120))), reply: opt(routes),
  }),
  IntentClose: map({
    category: text(32, DIVISION), reason: one('awarded', 'elsewhere', 'withdrawn', 'expired'), offers: opt(int(0, 100000)),
  }),
  Offer: map({
    vendor: map({ name: label }), category, lines: list(1, 64, line), total: money, fees: opt(list(0, 32, fee)),
    props: opt(list(0, 64, map({ name, value: single, unit: opt(unit) }))), meets: opt(list(0, 32, name)),
    deviates: opt(list(0, 40, map({ name, offered: opt(label) }))),
    options: opt(list(0, 32, map({ name, title, amount }))), when: opt(when), where: opt(where), note: opt(note),
    cancellation: opt(list(0, 8, map({ until: int(0), fee: amount }))),
    policies: opt(list(0, 16, map({ name: label, note }))), reply: opt(routes),
  }, offerFits),
  OfferWithdraw: map({ note: opt(note) }),
  Decline: map({
    reason: opt(one('price_sensitivity', 'shipping_cost', 'shipping_speed', 'product_fit', 'trust_security',
      'returns_policy', 'payment_options', 'comparison', 'timing_deferred', 'other', 'terms_mismatch', 'out_of_area',
      'capacity', 'policy')),
  }),
  Accept: map({ contact, options: opt(list(0, 32, name)), note: opt(note) }),
  Confirm: map({ contact, reference: opt(label), note: opt(note) }),
  Reject: map({ reason: one('sold_out', 'superseded', 'terms', 'policy'), note: opt(note) }),
  Ack: map({ digest: bytes(32) }),
  Problem: map({ code: one('lapsed', 'state', 'body', 'policy', 'busy'), arg: opt(int()) }),
  MailboxGrant: map({ mailbox: peer, room: int(0, 4 * 1024 * 1024) }),
  MailboxClaim: map({ mailbox: peer, challenge: bytes(32) }),
  NodeAddress: map({ addrs: list(1, 4, text(200, /^\/[A-Za-z0-9:._/-]+$/)), meeting: opt(bool) }),
}

const requester = 'requester', vendor = 'vendor', either = 'either'
const talked = ['offer', 'offer.withdraw', 'decline', 'accept', 'confirm', 'reject']
const direct = (sender, answers, body, acked = true) =>
  ({ realm: 'direct', sender, answers, head: ['ref', 'root', 'tkey', 'to'], body, acked })
const gossip = (answers, head, body) => ({ realm: 'gossip', sender: requester, answers, head, body, acked: false })
export const KINDS = {
  __proto__: null, // a kind called `constructor` is unknown
  intent: gossip([], ['stamp'], 'Intent'),
  'intent.update': gossip(['intent', 'intent.update'], ['ref', 'root', 'stamp'], 'Intent'),
  'intent.close': gossip([], ['root', 'stamp'], 'IntentClose'),
  offer: direct(vendor, ['intent', 'intent.update'], 'Offer'),
  'offer.withdraw': direct(vendor, ['offer'], 'OfferWithdraw'),
  decline: direct(requester, ['offer'], 'Decline'),
  accept: direct(requester, ['offer'], 'Accept'),
  confirm: direct(vendor, ['accept'], 'Confirm'),
  reject: direct(vendor, ['accept'], 'Reject'),
  ack: direct(either, talked, 'Ack', false),
  problem: direct(either, talked, 'Problem', false),
  address: { realm: 'address', sender: 'node', answers: [], head: [], body: 'NodeAddress', acked: false },
  'mailbox.grant': { realm: 'mailbox', sender: 'receiver', answers: [], head: ['stamp'], body: 'MailboxGrant', acked: false },
  'mailbox.claim': { realm: 'mailbox', sender: 'receiver', answers: [], head: [], body: 'MailboxClaim', acked: false },
}
