// The bodies of version 1 ("Bodies" and "Fields that must fit together" in protocol/README.md).

import { isBytes, isInt, Refused } from './codec.mjs'

const CHARS = (text) => [...text].length // code points, not UTF-16 units
const MINOR = 10 ** 15
const BIG = (value) => BigInt(value)

export const int = (least = null, most = null) => (value) =>
  isInt(value) && (least === null || value >= least) && (most === null || value <= most)
export const text = (most, pattern = /^/) => (value) =>
  typeof value === 'string' && CHARS(value) >= 1 && CHARS(value) <= most && pattern.test(value)
export const bin = (size) => (value) => isBytes(value) && value.length === size
const bool = (value) => typeof value === 'boolean'
const oneOf = (...words) => (value) => words.includes(value)
const list = (least, most, item) => (value) =>
  Array.isArray(value) && value.length >= least && value.length <= most && value.every(item)

// A map whose known keys are well-typed. `fields`: name -> check, required if the name ends with "!".
// `fit`: what the fields must be together; it is asked only when each is fine by itself.
export function shape (fields, fit = () => true) {
  const known = Object.entries(fields).map(([name, check]) => [name.replace('!', ''), name.endsWith('!'), check])
  return (value) => {
    if (!(value instanceof Map)) return false
    for (const [name, required, check] of known) {
      if (value.has(name) ? !check(value.get(name)) : required) return false
    }
    return fit(value)
  }
}

const NAME = text(32, /^[a-z0-9_]{1,32}$/)
const CATEGORY = text(164, /^[a-z0-9-]{1,32}(\.[a-z0-9-]{1,32}){0,4}$/)
const DIVISION = text(32, /^[a-z0-9-]{1,32}$/)
const UNIT = text(16, /^[A-Za-z0-9%/_.-]{1,16}$/)
const NOTE = text(1000)
const LABEL = text(80)
const TITLE = text(200)
const CONTACT = text(500)
const SIGNED_AMOUNT = int(-MINOR, MINOR)
const AMOUNT = int(0, MINOR)

const oneValue = (value) => isInt(value) || bool(value) || LABEL(value)
const range = (value) => list(2, 2, isInt)(value) && value[0] <= value[1]
const OPERANDS = { eq: oneValue, in: list(1, 16, oneValue), min: isInt, max: isInt, range }

const Property = shape(
  {
    'name!': NAME,
    'op!': oneOf(...Object.keys(OPERANDS)),
    'value!': () => true,
    'need!': oneOf('must', 'want', 'avoid'),
    unit: UNIT,
    weight: int(0, 100)
  },
  (it) => OPERANDS[it.get('op')](it.get('value'))
)

const LOCAL = /^([0-9]{4})-([0-9]{2})-([0-9]{2})(T([01][0-9]|2[0-3]):[0-5][0-9])?$/

function localTime (value) {
  if (!text(16, LOCAL)(value)) return false
  const [year, month, day] = LOCAL.exec(value).slice(1, 4).map(Number)
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
  return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1]
}

const atMinute = (local) => (local.length === 10 ? `${local}T00:00` : local)

const When = shape(
  { 'start!': localTime, 'end!': localTime, 'tz!': text(64, /^[A-Za-z0-9_+/-]+$/), flex: int(0, 1209600) },
  (it) => atMinute(it.get('start')) < atMinute(it.get('end'))
)

const Place = shape(
  {
    code: text(40, /^[a-z0-9-]{1,20}:[A-Za-z0-9._-]{1,19}$/),
    cells: list(0, 16, text(8, /^[0-9b-hjkmnp-z]{1,8}$/)),
    label: LABEL
  },
  (it) => it.has('code') || (it.get('cells') ?? []).length > 0
)

const Where = shape({ 'at!': Place, to: Place, radius: int(0, 20000) })
const Money = shape({ 'minor!': AMOUNT, 'currency!': text(3, /^[A-Z]{3}$/) })
const Route = shape({
  'via!': oneOf('direct', 'relay', 'mailbox'),
  'addr!': text(200, /^(\/[A-Za-z0-9:._/-]+)?\/p2p\/[A-Za-z0-9]{32,64}$/)
})

const Intent = shape({
  'action!': oneOf('buy', 'rent', 'hire', 'book', 'repair'),
  'category!': CATEGORY,
  'title!': TITLE,
  'box!': bin(32),
  note: NOTE,
  props: list(0, 32, Property),
  quantity: int(1, 1000000),
  when: When,
  where: Where,
  limit: Money,
  offers_by: int(0),
  spread: int(0, 600),
  max_offers: int(1, 100),
  award: oneOf('one'),
  terms: list(0, 8, text(120)),
  reply: list(0, 4, Route)
})

const IntentClose = shape({
  'category!': DIVISION,
  'reason!': oneOf('awarded', 'elsewhere', 'withdrawn', 'expired'),
  offers: int(0, 100000)
})

// Amounts reach 10^15, and a count a million of them: beyond what Numbers can multiply and add.
const Line = shape(
  {
    'title!': TITLE,
    'count!': int(1, 1000000),
    'unit!': LABEL,
    'price!': SIGNED_AMOUNT,
    'amount!': SIGNED_AMOUNT
  },
  (it) => BIG(it.get('count')) * BIG(it.get('price')) === BIG(it.get('amount'))
)

const amounts = (it, name) => (it.get(name) ?? []).reduce((sum, each) => sum + BIG(each.get('amount')), 0n)

const Offer = shape(
  {
    'vendor!': shape({ 'name!': LABEL }),
    'category!': CATEGORY,
    'lines!': list(1, 64, Line),
    'total!': Money,
    fees: list(0, 32, shape({ 'name!': LABEL, 'amount!': AMOUNT })),
    props: list(0, 64, shape({ 'name!': NAME, 'value!': oneValue, unit: UNIT })),
    meets: list(0, 32, NAME),
    deviates: list(0, 40, shape({ 'name!': NAME, offered: LABEL })),
    options: list(0, 32, shape({ 'name!': NAME, 'title!': TITLE, 'amount!': AMOUNT })),
    when: When,
    where: Where,
    note: NOTE,
    cancellation: list(0, 8, shape({ 'until!': int(0), 'fee!': AMOUNT })),
    policies: list(0, 16, shape({ 'name!': LABEL, 'note!': NOTE })),
    reply: list(0, 4, Route)
  },
  (it) => BIG(it.get('total').get('minor')) === amounts(it, 'lines') + amounts(it, 'fees')
)

const DECLINE_REASONS = oneOf(
  'price_sensitivity', 'shipping_cost', 'shipping_speed', 'product_fit', 'trust_security', 'returns_policy',
  'payment_options', 'comparison', 'timing_deferred', 'other', 'terms_mismatch', 'out_of_area', 'capacity', 'policy'
)
const DIRECT = ['ref', 'root', 'tkey', 'to']

// kind -> realm, who may say it, the head fields it needs besides the common ones, its body, whether it is acked.
export const KINDS = {
  intent: { realm: 'gossip', sender: 'requester', heads: ['stamp'], body: Intent },
  'intent.update': { realm: 'gossip', sender: 'requester', heads: ['ref', 'root', 'stamp'], body: Intent },
  'intent.close': { realm: 'gossip', sender: 'requester', heads: ['root', 'stamp'], body: IntentClose },
  offer: { realm: 'direct', sender: 'vendor', heads: DIRECT, body: Offer, acked: true },
  'offer.withdraw': { realm: 'direct', sender: 'vendor', heads: DIRECT, body: shape({ note: NOTE }), acked: true },
  decline: { realm: 'direct', sender: 'requester', heads: DIRECT, body: shape({ reason: DECLINE_REASONS }), acked: true },
  accept: {
    realm: 'direct',
    sender: 'requester',
    heads: DIRECT,
    body: shape({ 'contact!': CONTACT, options: list(0, 32, NAME), note: NOTE }),
    acked: true
  },
  confirm: {
    realm: 'direct',
    sender: 'vendor',
    heads: DIRECT,
    body: shape({ 'contact!': CONTACT, reference: LABEL, note: NOTE }),
    acked: true
  },
  reject: {
    realm: 'direct',
    sender: 'vendor',
    heads: DIRECT,
    body: shape({ 'reason!': oneOf('sold_out', 'superseded', 'terms', 'policy'), note: NOTE }),
    acked: true
  },
  ack: { realm: 'direct', sender: 'either', heads: DIRECT, body: shape({ 'digest!': bin(32) }) },
  problem: {
    realm: 'direct',
    sender: 'either',
    heads: DIRECT,
    body: shape({ 'code!': oneOf('lapsed', 'state', 'body', 'policy', 'busy'), arg: int() })
  },
  address: {
    realm: 'address',
    sender: 'node',
    heads: [],
    body: shape({ 'addrs!': list(1, 4, text(200, /^\/[A-Za-z0-9:._/-]+$/)), meeting: bool })
  }
}

export function checkBody (kind, body) {
  if (!KINDS[kind].body(body)) throw new Refused('body', kind)
}
