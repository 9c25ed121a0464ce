// Frames, verdicts, items: written from protocol/README.md, whose headings are named beside each part.

import { createHash, randomBytes } from 'node:crypto'

import sodium from 'libsodium-wrappers'

import { bin, checkBody, int, KINDS, shape, text } from './bodies.mjs'
import { decode, encode, hex, isBytes, Refused, sameBytes } from './codec.mjs'

await sodium.ready // its Ed25519 is the rule of "Keys": other libraries accept other signatures

export const MAX_GOSSIP_FRAME = 8192
export const MAX_ITEM = 60000
const MAX_LIFE = 2592000
const MAX_SKEW = 120
const MAX_INSTANT = 2 ** 40
const PAD_SIZES = [256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 59392]
export const NO_STAMP = new Uint8Array(8)

const ascii = (words) => new TextEncoder().encode(words)
const joined = (...parts) => new Uint8Array(Buffer.concat(parts.map((part) => Uint8Array.from(part))))
export const blake2b = (...parts) => sodium.crypto_generichash(32, joined(...parts))

// ------------------------------------------------------------------------------------------------------------ Keys

export const signingKey = (seed) => {
  const pair = sodium.crypto_sign_seed_keypair(seed)
  return { secret: pair.privateKey, public: pair.publicKey }
}
export const boxKey = (secret) => ({ secret, public: sodium.crypto_scalarmult_base(secret) })
export const randomKey = () => new Uint8Array(randomBytes(32))

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

function base58btc (bytes) {
  let number = bytes.length > 0 ? BigInt('0x' + hex(bytes)) : 0n
  let digits = ''
  for (; number > 0n; number /= 58n) digits = BASE58[Number(number % 58n)] + digits
  const zeros = bytes.findIndex((byte) => byte !== 0)
  return '1'.repeat(zeros < 0 ? bytes.length : zeros) + digits
}

export const didKey = (key) => 'did:key:z' + base58btc(joined([0xed, 0x01], key))
export const peerIdText = (key) => base58btc(joined([0x00, 0x24, 0x08, 0x01, 0x12, 0x20], key))

// ---------------------------------------------------------------------------------------------------------- Frames

const signedBytes = (payload, realm, net) => joined(ascii('intentcast/1'), [0], ascii(realm), [0], ascii(net), [0], payload)

export const idOf = (key, payload) => blake2b(key, payload)

export function sign (payload, key, realm, net) {
  const signature = sodium.crypto_sign_detached(signedBytes(payload, realm, net), key.secret)
  return encode([key.public, signature, payload])
}

export function readFrame (frame, maxBytes = MAX_ITEM) {
  const parts = decode(frame, maxBytes)
  if (!Array.isArray(parts) || parts.length !== 3) throw new Refused('frame')
  const [key, signature, payload] = parts
  if (!bin(32)(key) || !bin(64)(signature) || !isBytes(payload)) throw new Refused('frame')
  const fields = decode(payload, maxBytes)
  if (!(fields instanceof Map)) throw new Refused('type', 'a payload that is no map')
  return { author: key, signature, payload, fields, frame, id: idOf(key, payload) }
}

export function verify (envelope, realm, net) {
  const { signature, payload, author } = envelope
  if (!sodium.crypto_sign_verify_detached(signature, signedBytes(payload, realm, net), author)) {
    throw new Refused('signature')
  }
}

export function trailingZeroBits (bytes) {
  let bits = 0
  for (let i = bytes.length - 1; i >= 0; i--, bits += 8) {
    if (bytes[i] !== 0) return bits + Math.log2(bytes[i] & -bytes[i])
  }
  return bits
}

// --------------------------------------------------------------------------------------------------- Payload, Kinds

const COMMON = shape({
  'v!': int(0),
  'net!': text(32, /^[a-z0-9-]+$/),
  'kind!': text(64, /^[a-z0-9.]+$/),
  'at!': int(0, MAX_INSTANT),
  'exp!': int(0, MAX_INSTANT),
  'seq!': int(0),
  'salt!': bin(16)
})
const HEAD_SIZES = { ref: 32, root: 32, to: 32, tkey: 32, stamp: 8 }
const EXT = shape({ crit: (names) => Array.isArray(names) && names.every((name) => typeof name === 'string') })

function checkCommon (fields) {
  if (!COMMON(fields)) throw new Refused('head')
  if (fields.get('v') !== 1) throw new Refused('version')
  const life = fields.get('exp') - fields.get('at')
  if (life <= 0 || life > MAX_LIFE) throw new Refused('life')
}

// What its kind asks of the head. `realm`: where it was received.
function checkKind (fields, realm) {
  const kind = fields.get('kind')
  if (!Object.hasOwn(KINDS, kind) || KINDS[kind].realm !== realm) throw new Refused('unknown_kind', kind)
  for (const name of KINDS[kind].heads) {
    if (!bin(HEAD_SIZES[name])(fields.get(name))) throw new Refused('head', name)
  }
  if (fields.has('ext')) {
    if (!EXT(fields.get('ext'))) throw new Refused('head', 'ext')
    if ((fields.get('ext').get('crit') ?? []).length > 0) throw new Refused('critical') // this program knows none
  }
  return kind
}

export const isEarly = (fields, now) => fields.get('at') > now + MAX_SKEW
export const isExpired = (fields, now) =>
  fields.get('kind') === 'intent.close' ? now > fields.get('exp') + MAX_SKEW : now >= fields.get('exp')

// A signed frame of these fields; plain objects are maps. What is common is filled in.
export function speak ({ kind, net, by, at, exp, body, salt = new Uint8Array(randomBytes(16)), seq = 0, ...heads }) {
  const payload = encode({ v: 1, kind, net, at, exp, body, salt, seq, ...heads })
  return readFrame(sign(payload, by, KINDS[kind].realm, net))
}

// All that a message must be, wherever it came from, apart from time.
export function checkMessage (message, realm, net) {
  const { fields } = message
  if (fields.get('net') !== net) throw new Refused('net')
  checkCommon(fields)
  const kind = checkKind(fields, realm)
  verify(message, realm, net)
  checkBody(kind, fields.get('body'))
}

// ---------------------------------------------------------------------------------------------------------- Gossip

export const divisionOf = (category) => category.split('.', 1)[0]
export const topicOf = (net, division) => `intentcast/1/${net}/intent/${division}`

export function gossipId (topic, data) {
  const name = ascii(topic)
  const length = Buffer.alloc(8)
  length.writeBigUInt64BE(BigInt(name.length))
  return new Uint8Array(createHash('sha256').update(length).update(name).update(data).digest().subarray(0, 20))
}

const IGNORED = new Set(['unknown_kind', 'critical', 'early', 'expired', 'seen', 'superseded'])

// "Verdicts" and "The register", for one network.
export class Board {
  constructor (net, bits = 0) {
    this.net = net
    this.bits = bits
    this.postings = new Map()
  }

  // -> { verdict: 'accept' | 'reject' | 'ignore', reason, message }
  hear (data, division, now) {
    try {
      const message = this.#judge(data, division, now)
      this.#place(message, division)
      return { verdict: 'accept', reason: null, message }
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      return { verdict: IGNORED.has(error.reason) ? 'ignore' : 'reject', reason: error.reason, message: null }
    }
  }

  get (id) {
    return [...this.postings.values()].find((message) => sameBytes(message.id, id))
  }

  list (divisions) {
    return [...this.postings.values()].filter(({ fields }) => divisions.has(divisionOf(fields.get('body').get('category'))))
  }

  #judge (data, division, now) {
    const message = readFrame(data, MAX_GOSSIP_FRAME)
    const { fields } = message
    if (fields.get('net') !== this.net) throw new Refused('net')
    const body = fields.get('body')
    const category = body instanceof Map ? body.get('category') : undefined
    if (typeof category !== 'string' || divisionOf(category) !== division) throw new Refused('division')
    checkCommon(fields)
    const kind = checkKind(fields, 'gossip')
    if (trailingZeroBits(message.id) < this.bits) throw new Refused('stamp')
    verify(message, 'gossip', this.net)
    checkBody(kind, body)
    if (isEarly(fields, now)) throw new Refused('early')
    if (isExpired(fields, now)) throw new Refused('expired')
    return message
  }

  #place (message, division) {
    const register = `${hex(message.author)} ${division}`
    const present = this.postings.get(register)
    if (present !== undefined) {
      if (sameBytes(present.id, message.id)) throw new Refused('seen')
      if (!beats(message, present)) throw new Refused('superseded')
    }
    this.postings.set(register, message)
  }
}

function beats (one, other) {
  const [closes, closed] = [one, other].map((each) => each.fields.get('kind') === 'intent.close')
  if (closes !== closed) return closes
  const [seq, present] = [one.fields.get('seq'), other.fields.get('seq')]
  return seq === present ? Buffer.compare(one.id, other.id) < 0 : seq > present
}

// ---------------------------------------------------------------------------------------------------------- Sealing

// What a key pair shares with another public key: "the box side is always the server, the vendor the client".
export function sessionKeys (own, ownIsBox, other) {
  try {
    const keys = ownIsBox
      ? sodium.crypto_kx_server_session_keys(own.public, own.secret, other)
      : sodium.crypto_kx_client_session_keys(own.public, own.secret, other)
    return { receive: keys.sharedRx, send: keys.sharedTx }
  } catch {
    throw new Refused('sealed', 'a key of small order')
  }
}

export const paddedSize = (bytes) => PAD_SIZES.find((size) => size > bytes)

function pad (frame) {
  const size = paddedSize(frame.length)
  if (size === undefined) throw new Refused('size', 'too long to be sealed')
  const out = new Uint8Array(size)
  out.set(frame)
  out[frame.length] = 0x80
  return out
}

function unpad (padded) {
  let end = padded.length - 1
  while (end >= 0 && padded[end] === 0) end--
  if (end < 0 || padded[end] !== 0x80 || paddedSize(end) !== padded.length) throw new Refused('padding')
  return padded.subarray(0, end)
}

export const associatedData = (item) => encode([1, item.toBox, item.tkey, item.n, item.exp, item.nonce])
export const digestOf = (item) =>
  blake2b(encode([1, item.toBox, item.tkey, item.n, item.exp, item.nonce, item.ciphertext]))
export const itemStampBits = (digest, stamp) => trailingZeroBits(blake2b(digest, stamp))

export function seal (frame, { own, ownIsBox, toBox, n, exp, nonce = new Uint8Array(randomBytes(24)) }) {
  const item = { toBox, tkey: own.public, n, exp, nonce, stamp: NO_STAMP }
  const { send } = sessionKeys(own, ownIsBox, toBox)
  item.ciphertext = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(pad(frame), associatedData(item), null, nonce, send)
  return item
}

export const encodeItem = (item) =>
  encode([1, item.toBox, item.tkey, item.n, item.exp, item.nonce, item.ciphertext, item.stamp])
export const encodeHint = ({ digest, code, arg }) => encode([0, digest, code, arg])

const HINTS = new Set(['need_bits', 'unknown_key', 'busy'])

// An item, or a hint (which has a `code`). Throws Refused.
export function readItem (data) {
  const parts = decode(data, MAX_ITEM)
  if (!Array.isArray(parts)) throw new Refused('item')
  if (parts[0] === 0 && parts.length === 4) {
    const [, digest, code, arg] = parts
    if (!bin(32)(digest) || !HINTS.has(code) || !int(0)(arg)) throw new Refused('item', 'not a hint')
    return { digest, code, arg }
  }
  const [version, toBox, tkey, n, exp, nonce, ciphertext, stamp] = parts
  const fine =
    version === 1 && parts.length === 8 && bin(32)(toBox) && bin(32)(tkey) && int(0)(n) && int(0, MAX_INSTANT)(exp) &&
    bin(24)(nonce) && isBytes(ciphertext) && bin(8)(stamp)
  if (!fine) throw new Refused('item')
  if (!PAD_SIZES.includes(ciphertext.length - 16)) throw new Refused('padding')
  return { toBox, tkey, n, exp, nonce, ciphertext, stamp }
}

// --------------------------------------------------------------------------------------------------------- Opening

// `end`: { own, ownIsBox, net, me, root, expectedAuthor (null: anybody but me) }. -> message. Throws Refused.
export function openItem (item, { own, ownIsBox, net, me, root, expectedAuthor }) {
  if (!sameBytes(item.toBox, own.public)) throw new Refused('unknown_key')
  const { receive } = sessionKeys(own, ownIsBox, item.tkey)
  let padded
  try {
    padded = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(null, item.ciphertext, associatedData(item), item.nonce, receive)
  } catch {
    throw new Refused('sealed')
  }
  const message = readFrame(unpad(padded))
  const { fields, author } = message
  if (fields.get('net') !== net) throw new Refused('net')
  checkCommon(fields)
  const kind = checkKind(fields, 'direct')
  if (KINDS[kind].sender === (ownIsBox ? 'requester' : 'vendor')) throw new Refused('sender')
  if (!sameBytes(fields.get('to'), me)) throw new Refused('to')
  if (!sameBytes(fields.get('root'), root)) throw new Refused('root')
  if (!sameBytes(fields.get('tkey'), item.tkey)) throw new Refused('tkey')
  if (fields.get('exp') !== item.exp) throw new Refused('exp')
  if (expectedAuthor === null ? sameBytes(author, me) : !sameBytes(author, expectedAuthor)) throw new Refused('author')
  verify(message, 'direct', net)
  checkBody(kind, fields.get('body'))
  return message
}

// --------------------------------------------------------------------------------------------------------- Streams

export function withLength (data) {
  const length = []
  let rest = data.length
  for (; rest > 0x7f; rest >>= 7) length.push((rest & 0x7f) | 0x80)
  return joined([...length, rest], data)
}

// Cuts what comes on a stream into items. Throws Refused for a length that is too large or too long.
export class Deframer {
  #rest

  constructor () {
    this.#rest = Buffer.alloc(0)
  }

  * feed (data) {
    this.#rest = Buffer.concat([this.#rest, data])
    for (;;) {
      let length = 0
      let at = 0
      let more = true
      while (more) {
        if (at >= this.#rest.length) return
        const byte = this.#rest[at]
        length |= (byte & 0x7f) << (7 * at)
        more = byte > 0x7f
        if (!more && byte === 0 && at > 0) throw new Refused('frame', 'a length that is too long')
        at++
        if (length > MAX_ITEM || (more && at >= 3)) throw new Refused('size', 'a length that is too large')
      }
      if (this.#rest.length < at + length) return
      yield new Uint8Array(this.#rest.subarray(at, at + length))
      this.#rest = this.#rest.subarray(at + length)
    }
  }
}

export { decode, encode }
