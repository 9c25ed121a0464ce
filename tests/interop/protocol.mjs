// Frames, verdicts, items ("Frames" to "Direct messages" in protocol/README.md). What is refused throws Refused with a
// reason: a word of this program, except that REJECTED lists those that blame the peer who handed the frame over.
import { createHash, randomBytes } from 'node:crypto'
import sodium from 'libsodium-wrappers'
import { BODIES, KINDS, bytes, int, text } from './bodies.mjs'
import { decode, encode, isBytes, isInt, isMap, refuse, Refused } from './codec.mjs'

await sodium.ready

export const MOST_GOSSIP = 8192, MOST_ITEM = 60000, MOST_RECORD = 2048, MOST_EVIDENCE = 240000
export const SKEW = 120, MAX_LIFE = 30 * 86400
export const PADDED = [256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 59392]
export const bitsOf = net => net === 'main' ? 18 : 0

export const hex = raw => Buffer.from(raw).toString('hex')
export const unhex = s => Buffer.from(s, 'hex')
export const same = (a, b) => Buffer.compare(a, b) === 0
const blake = (size, ...parts) => Buffer.from(sodium.crypto_generichash(size, Buffer.concat(parts), null))
const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()

// ---- names

export const frameId = (key, payload) => blake(32, key, payload)
export const topicOf = (net, division) => `intentcast/1/${net}/intent/${division}`
export const divisionOf = category => category.split('.', 1)[0]
export function messageId (topic, data) {
  const name = Buffer.from(topic), length = Buffer.alloc(8)
  length.writeBigUInt64BE(BigInt(name.length))
  return sha256(length, name, data).subarray(0, 20)
}
export const digest = (...parts) => blake(32, ...parts)

export function trailingZeroBits (raw) {
  for (let i = raw.length - 1, bits = 0; i >= 0; i--, bits += 8) if (raw[i]) return bits + 31 - Math.clz32(raw[i] & -raw[i])
  return raw.length * 8
}

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
function base58 (raw) {
  let out = ''
  for (let n = BigInt('0x0' + hex(raw)); n > 0n; n /= 58n) out = ALPHABET[Number(n % 58n)] + out
  for (const b of raw) { if (b) break; out = '1' + out } // each leading zero byte is a 1
  return out
}
export const did = key => 'did:key:z' + base58(Buffer.concat([unhex('ed01'), key]))
export const peerId = key => base58(Buffer.concat([unhex('002408011220'), key]))

// ---- keys

export function signer (seed = randomBytes(32)) {
  const { publicKey, privateKey } = sodium.crypto_sign_seed_keypair(seed)
  return { seed, key: Buffer.from(publicKey), sign: data => Buffer.from(sodium.crypto_sign_detached(data, privateKey)) }
}
export const box = (secret = randomBytes(32)) => ({ secret, key: Buffer.from(sodium.crypto_scalarmult_base(secret)) })

// ---- frames

// libsodium's rule is the protocol's: other libraries accept other signatures.
export const verifies = (key, signature, data) => sodium.crypto_sign_verify_detached(signature, data, key)
const signed = (realm, net, payload) => Buffer.concat([Buffer.from(`intentcast/1\0${realm}\0${net}\0`), payload])

export const frameOf = (author, realm, net, payload) =>
  encode([author.key, author.sign(signed(realm, net, payload)), payload])
export const makeFrame = (author, realm, fields) => frameOf(author, realm, fields.net, encode(fields))


// A frame of these fields as its message; what is common to all kinds is filled in.
export function speak (author, { seq = 0, salt = randomBytes(16), ...fields }) {
  const head = { v: 1, seq, salt, ...fields }
  return { ...parseFrame(makeFrame(author, KINDS[head.kind].realm, head), MOST_ITEM), head }
}

export function parseFrame (data, most) {
  const parts = decode(data, most)
  if (!Array.isArray(parts) || parts.length !== 3) refuse('frame')
  const [key, signature, payload] = parts
  if (!isBytes(key, 32) || !isBytes(signature, 64) || !isBytes(payload)) refuse('frame')
  return { key, signature, payload, id: frameId(key, payload), data }
}

function readPayload (frame, net) {
  const head = decode(frame.payload, frame.payload.length)
  if (!isMap(head)) refuse('type', 'payload')
  if (head.net !== net) refuse('net')
  return head
}

const INSTANT = int(0, 2 ** 40)
const COMMON = {
  v: int(0), net: text(32, /^[a-z0-9-]+$/), kind: text(64, /^[a-z0-9.]+$/),
  at: INSTANT, exp: INSTANT, seq: int(0), salt: bytes(16),
}
const HEAD = { ref: bytes(32), root: bytes(32), to: bytes(32), tkey: bytes(32), stamp: bytes(8) }

function checkCommon (head) {
  for (const [name, check] of Object.entries(COMMON)) if (!check(head[name])) refuse('head', name)
  if (head.v !== 1) refuse('version')
  if (!(head.at < head.exp && head.exp <= head.at + MAX_LIFE)) refuse('life')
}

// A field that its kind does not have is an unknown key, whatever its type.
function checkKind (head, realm) {
  const kind = KINDS[head.kind]
  if (kind?.realm !== realm) refuse('unknown_kind', head.kind)
  for (const name of kind.head) if (!HEAD[name](head[name])) refuse('head', name)
  if (head.ext === undefined) return kind
  const crit = isMap(head.ext) ? head.ext.crit ?? [] : refuse('head', 'ext')
  if (!Array.isArray(crit) || !crit.every(x => typeof x === 'string')) refuse('head', 'crit')
  if (crit.length) refuse('critical', crit[0]) // we know no extension
  return kind
}

function checkSignature ({ key, signature, payload }, realm, net) {
  if (!verifies(key, signature, signed(realm, net, payload))) refuse('signature')
}
const checkBody = (head, kind) => BODIES[kind.body](head.body) || refuse('body')

export const isEarly = (head, now) => head.at > now + SKEW
export const isExpired = (head, now) => head.kind === 'intent.close' ? now > head.exp + SKEW : now >= head.exp

// ---- gossip

export const REJECTED = new Set(['size', 'not_msgpack', 'not_canonical', 'type', 'depth', 'count', 'key', 'text', 'range',
  'frame', 'signature', 'head', 'version', 'net', 'division', 'life', 'stamp', 'body'])

// Everything but the register. Cheap checks come first: the signature is only paid for by what carries a stamp.
export function openGossip (data, { net, division, now, bits = bitsOf(net) }) {
  const frame = parseFrame(data, MOST_GOSSIP)
  const head = readPayload(frame, net)
  const category = isMap(head.body) ? head.body.category : undefined
  if (typeof category !== 'string' || divisionOf(category) !== division) refuse('division')
  checkCommon(head)
  const kind = checkKind(head, 'gossip')
  if (trailingZeroBits(frame.id) < bits) refuse('stamp')
  checkSignature(frame, 'gossip', net)
  checkBody(head, kind)
  if (isEarly(head, now)) refuse('early')
  if (isExpired(head, now)) refuse('expired')
  return { ...frame, head }
}

// One posting for each author and division.
export class Board {
  #postings = new Map()
  constructor (net, bits = bitsOf(net)) { this.net = net; this.bits = bits }

  hear (data, division, now) {
    try {
      const message = openGossip(data, { net: this.net, division, now, bits: this.bits })
      this.#register(message, division)
      return { verdict: 'accept', message }
    } catch (e) {
      if (!(e instanceof Refused)) throw e
      return { verdict: REJECTED.has(e.reason) ? 'reject' : 'ignore', reason: e.reason }
    }
  }

  #register (message, division) {
    const slot = hex(message.key) + division, old = this.#postings.get(slot)
    if (old && same(old.id, message.id)) refuse('seen')
    if (old && !outranks(message, old)) refuse('superseded')
    this.#postings.set(slot, message)
  }

  get (id) { return [...this.#postings.values()].find(m => same(m.id, id)) }
  list (division, now) {
    return [...this.#postings.values()].filter(m => divisionOf(m.head.body.category) === division && !isExpired(m.head, now))
  }
}

function outranks (a, b) {
  const closes = m => m.head.kind === 'intent.close'
  if (closes(a) !== closes(b)) return closes(a)
  return a.head.seq !== b.head.seq ? a.head.seq > b.head.seq : Buffer.compare(a.id, b.id) < 0
}

// ---- streams and records

export function withLength (value) {
  const out = []
  for (let n = value.length; ; n >>= 7) {
    if (n < 128) { out.push(n); break }
    out.push(n & 127 | 128)
  }
  return Buffer.concat([Buffer.from(out), value])
}

// What has come so far -> [the whole values in it, the rest]. A length above `most` or in a longer form than needed throws.
export function splitStream (data, most = MOST_ITEM) {
  const whole = []
  for (;;) {
    let length = 0, at = 0
    for (; ; at++) {
      if (at === data.length) return [whole, data]
      length += (data[at] & 127) * 2 ** (7 * at)
      if (length > most || at > 3) refuse('size')
      if (data[at] < 128) break
    }
    if (at > 0 && data[at] === 0) refuse('not_canonical', 'length')
    if (data.length < at + 1 + length) return [whole, data]
    whole.push(data.subarray(at + 1, at + 1 + length))
    data = data.subarray(at + 1 + length)
  }
}

// The values of a stream, as its chunks come.
export async function * values (stream) {
  let rest = Buffer.alloc(0), whole
  for await (const chunk of stream) {
    [whole, rest] = splitStream(Buffer.concat([rest, chunk.subarray()]))
    yield * whole
  }
}

export function openRecord (data, { net, now }) {
  const frame = parseFrame(data, MOST_RECORD)
  const head = readPayload(frame, net)
  checkCommon(head)
  const kind = checkKind(head, 'address')
  checkSignature(frame, 'address', net)
  checkBody(head, kind)
  if (isEarly(head, now)) refuse('early')
  if (isExpired(head, now)) refuse('expired')
  if (head.exp > head.at + 86400) refuse('life')
  return { ...frame, head, peer: peerId(frame.key) }
}

// What a receiver says to its mailbox. Whether it is this mailbox, this challenge and this hour is the mailbox's to see.
export function openToMailbox (data, { net }) {
  const frame = parseFrame(data, MOST_GOSSIP)
  const head = readPayload(frame, net)
  checkCommon(head)
  const kind = checkKind(head, 'mailbox')
  checkSignature(frame, 'mailbox', net)
  checkBody(head, kind)
  return { ...frame, head }
}

// ---- direct items

export function pad (frame) {
  const size = PADDED.find(n => n > frame.length) ?? refuse('size')
  return Buffer.concat([frame, Buffer.of(0x80), Buffer.alloc(size - frame.length - 1)])
}
function unpad (plain) {
  let end = plain.length - 1
  while (end >= 0 && plain[end] === 0) end--
  if (plain[end] !== 0x80 || PADDED.find(n => n > end) !== plain.length) refuse('padding')
  return plain.subarray(0, end)
}

// {receive, send} of one side. The box is the server, the vendor's tkey the client, whoever writes.
export function sessionKeys (own, other, ownIsBox) {
  let q
  try { q = sodium.crypto_scalarmult(own.secret, other) } catch { refuse('sealed', 'key of small order') }
  const client = ownIsBox ? other : own.key, server = ownIsBox ? own.key : other
  const both = blake(64, q, client, server)
  const [low, high] = [both.subarray(0, 32), both.subarray(32)]
  return ownIsBox ? { receive: high, send: low } : { receive: low, send: high }
}

export function seal (frame, { own, ownIsBox, toBox, n, exp, nonce = randomBytes(24), stamp = Buffer.alloc(8) }) {
  const outside = [1, toBox, own.key, n, exp, nonce]
  const { send } = sessionKeys(own, toBox, ownIsBox)
  const sealed = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(pad(frame), encode(outside), null, nonce, send)
  return encode([...outside, sealed, stamp])
}

export const itemBits = (digest, stamp) => trailingZeroBits(blake(32, digest, stamp))
const TAG = 16
const HINTS = ['need_bits', 'unknown_key', 'busy']
const count = v => isInt(v) && v >= 0

export const makeHint = (digest, code, arg) => encode([0, digest, code, arg])

export function parseItem (data) {
  const parts = decode(data, MOST_ITEM)
  if (!Array.isArray(parts)) refuse('item')
  if (parts[0] === 0) {
    const [, digest, code, arg] = parts
    if (parts.length !== 4 || !isBytes(digest, 32) || !HINTS.includes(code) || !count(arg)) refuse('item')
    return { hint: { digest, code, arg } }
  }
  const [version, toBox, tkey, n, exp, nonce, sealed, stamp] = parts
  if (parts.length !== 8 || version !== 1 || !isBytes(toBox, 32) || !isBytes(tkey, 32) || !count(n) || !count(exp) ||
    !isBytes(nonce, 24) || !isBytes(sealed) || !isBytes(stamp, 8)) refuse('item')
  if (!PADDED.includes(sealed.length - TAG)) refuse('padding')
  const digest = blake(32, encode(parts.slice(0, 7)))
  return { toBox, tkey, n, exp, nonce, sealed, stamp, digest, bits: itemBits(digest, stamp), outside: encode(parts.slice(0, 6)) }
}

// `receiver`: own {secret, key}, ownIsBox, net, me (signing key), root, expectedAuthor (none: a first offer), now.
// D, the peer's share and the stamp asked for are the caller's, who keeps the memory of them.
export function openItem (item, { own, ownIsBox, net, me, root, expectedAuthor, now }) {
  if (now !== undefined && now >= item.exp) refuse('expired')
  if (!same(item.toBox, own.key)) refuse('unknown_key')
  const { receive } = sessionKeys(own, item.tkey, ownIsBox)
  let plain
  try {
    plain = Buffer.from(sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(null, item.sealed, item.outside, item.nonce, receive))
  } catch { refuse('sealed') }
  const frame = parseFrame(unpad(plain), MOST_ITEM)
  const head = readPayload(frame, net)
  checkCommon(head)
  const kind = checkKind(head, 'direct')
  if (kind.sender !== 'either' && (kind.sender === 'vendor') !== ownIsBox) refuse('sender')
  if (!same(head.to, me)) refuse('to')
  if (!same(head.root, root)) refuse('root')
  if (!same(head.tkey, item.tkey)) refuse('tkey')
  if (head.exp !== item.exp) refuse('exp')
  if (expectedAuthor ? !same(frame.key, expectedAuthor) : same(frame.key, me)) refuse('author')
  checkSignature(frame, 'direct', net)
  checkBody(head, kind)
  if (now !== undefined && isEarly(head, now)) refuse('early')
  return { ...frame, head, digest: item.digest }
}

// ---- evidence

const SORTS = { intent: [/^intent(\.update|\.close)?$/], offer: [/^intent(\.update)?$/, /^offer$/],
  contract: [/^intent(\.update)?$/, /^offer$/, /^accept$/, /^confirm$/] }

// Stamps and expiry are not judged: what was signed stays signed.
export function openEvidence (data) {
  const parts = decode(data, MOST_EVIDENCE)
  if (!Array.isArray(parts) || parts.length !== 5) refuse('evidence')
  const [name, version, net, sort, frames] = parts
  const kinds = Object.hasOwn(SORTS, sort) ? SORTS[sort] : refuse('evidence', 'kind')
  if (name !== 'intentcast/evidence' || version !== 1 || typeof net !== 'string' || !Array.isArray(frames) ||
    frames.length !== kinds.length) refuse('evidence')
  const messages = frames.map((data, i) => {
    const realm = i ? 'direct' : 'gossip'
    const frame = parseFrame(isBytes(data) ? data : refuse('evidence'), MOST_ITEM)
    const head = readPayload(frame, net)
    checkCommon(head)
    const kind = checkKind(head, realm)
    if (!kinds[i].test(head.kind)) refuse('evidence', head.kind)
    checkSignature(frame, realm, net)
    checkBody(head, kind)
    return { ...frame, head }
  })
  const [wish, offer, accept, confirm] = messages
  const root = wish.head.kind === 'intent' ? wish.id : wish.head.root
  messages.slice(1).forEach((m, i) => {
    const before = messages[i]
    if (!same(m.head.ref, before.id) || !same(m.head.root, root) || !same(m.head.to, before.key)) refuse('evidence', 'chain')
  })
  if (offer && same(offer.key, wish.key)) refuse('evidence', 'author')
  const agreed = accept => same(accept.key, wish.key) && same(confirm.key, offer.key) && accept.head.exp <= offer.head.exp
  if (accept && !agreed(accept)) refuse('evidence')
  return messages
}
