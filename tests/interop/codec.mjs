// The canonical subset of msgpack ("Encoding" in protocol/README.md).
//
// Integers are Numbers where a Number is exact and BigInts beyond; maps are Maps, because an object would put the key
// "10" behind "9" and treat "__proto__" as its own; binaries are Uint8Arrays.

export class Refused extends Error {
  constructor(reason, detail = '') {
    super(detail === '' ? reason : `${reason}: ${detail}`)
    this.reason = reason
  }
}

const MAX_DEPTH = 8
const MAX_KEYS = 64
const MAX_ITEMS = 256
const INT_MIN = -(2n ** 63n)
const INT_MAX = 2n ** 63n - 1n
const KEY = /^[a-z0-9_.-]{1,64}$/
const NOT_IN_TEXT = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u
const MAY_HAVE_LINES = new Set(['note', 'chat'])

// Two defaults of JavaScript would be wrong here: bytes that are no UTF-8 becoming U+FFFD, and a leading U+FEFF vanishing.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const toUtf8 = new TextEncoder()

export const isBytes = (value) => value instanceof Uint8Array
export const isInt = (value) => typeof value === 'bigint' || Number.isSafeInteger(value)
export const sameBytes = (one, other) => Buffer.compare(one, other) === 0
export const hex = (bytes) => Buffer.from(bytes).toString('hex')
export const unhex = (text) => new Uint8Array(Buffer.from(text, 'hex'))

function checkText (text, key) {
  const checked = MAY_HAVE_LINES.has(key) ? text.replaceAll('\n', '') : text
  if (NOT_IN_TEXT.test(checked)) throw new Refused('text', 'a character that is not text')
  return text
}

// -------------------------------------------------------------------------------------------------------- decoding

class Reader {
  constructor (data) {
    this.data = data
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength)
    this.at = 0
  }

  take (count) {
    if (count > this.data.length - this.at) throw new Refused('not_msgpack', 'ends too early')
    const start = this.at
    this.at += count
    return start
  }

  uint (bytes) {
    const start = this.take(bytes)
    if (bytes === 1) return this.view.getUint8(start)
    if (bytes === 2) return this.view.getUint16(start)
    if (bytes === 4) return this.view.getUint32(start)
    return exact(this.view.getBigUint64(start))
  }

  int (bytes) {
    const start = this.take(bytes)
    if (bytes === 1) return this.view.getInt8(start)
    if (bytes === 2) return this.view.getInt16(start)
    if (bytes === 4) return this.view.getInt32(start)
    return exact(this.view.getBigInt64(start))
  }

  // A length in so many bytes; `shortest` is the least that may not be said in fewer.
  length (bytes, shortest) {
    const length = this.uint(bytes)
    if (length < shortest) throw new Refused('not_canonical', 'a length that is too long')
    return length
  }

  bytes (count) {
    const start = this.take(count)
    return this.data.subarray(start, start + count)
  }

  text (count, key) {
    const bytes = this.bytes(count)
    let text
    try {
      text = utf8.decode(bytes)
    } catch {
      throw new Refused('not_msgpack', 'not UTF-8')
    }
    return checkText(text, key)
  }

  value (depth, key = null) {
    const type = this.uint(1)
    if (type <= 0x7f) return type
    if (type >= 0xe0) return type - 0x100
    if (type <= 0x8f) return this.map(type & 0x0f, depth)
    if (type <= 0x9f) return this.array(type & 0x0f, depth)
    if (type <= 0xbf) return this.text(type & 0x1f, key)
    switch (type) {
      case 0xc2: return false
      case 0xc3: return true
      case 0xc4: return this.bytes(this.length(1, 0))
      case 0xc5: return this.bytes(this.length(2, 0x100))
      case 0xc6: return this.bytes(this.length(4, 0x10000))
      case 0xcc: return this.unsigned(1, 0x80)
      case 0xcd: return this.unsigned(2, 0x100)
      case 0xce: return this.unsigned(4, 0x10000)
      case 0xcf: return this.unsigned(8, 0x100000000)
      case 0xd0: return this.negative(1, -0x20)
      case 0xd1: return this.negative(2, -0x80)
      case 0xd2: return this.negative(4, -0x8000)
      case 0xd3: return this.negative(8, -0x80000000)
      case 0xd9: return this.text(this.length(1, 0x20), key)
      case 0xda: return this.text(this.length(2, 0x100), key)
      case 0xdb: return this.text(this.length(4, 0x10000), key)
      case 0xdc: return this.array(this.length(2, 0x10), depth)
      case 0xdd: return this.array(this.length(4, 0x10000), depth)
      case 0xde: return this.map(this.length(2, 0x10), depth)
      case 0xdf: return this.map(this.length(4, 0x10000), depth)
      case 0xc1: throw new Refused('not_msgpack', 'a byte that means nothing')
      default: throw new Refused('type', 'nil, a float or an extension')
    }
  }

  unsigned (bytes, shortest) {
    const value = this.uint(bytes)
    if (value > INT_MAX) throw new Refused('range', 'above int64')
    if (value < shortest) throw new Refused('not_canonical', 'an integer that is too long')
    return value
  }

  negative (bytes, shortest) {
    const value = this.int(bytes)
    if (value >= shortest) throw new Refused('not_canonical', 'an integer that is too long, or not negative')
    return value
  }

  array (count, depth) {
    if (count > MAX_ITEMS) throw new Refused('count', 'too many items')
    if (depth > MAX_DEPTH) throw new Refused('depth')
    const items = []
    while (items.length < count) items.push(this.value(depth + 1))
    return items
  }

  map (count, depth) {
    if (count > MAX_KEYS) throw new Refused('count', 'too many keys')
    if (depth > MAX_DEPTH) throw new Refused('depth')
    const fields = new Map()
    let last = ''
    for (let i = 0; i < count; i++) {
      const key = this.value(depth + 1)
      if (typeof key !== 'string') throw new Refused('type', 'a key that is no text')
      // Keys are ASCII, so the order of JavaScript's strings is that of their bytes.
      if (!KEY.test(key)) throw new Refused('key', 'not a key')
      if (key <= last) throw new Refused('key', 'keys out of order, or twice')
      last = key
      fields.set(key, this.value(depth + 1, key))
    }
    return fields
  }
}

const exact = (big) => (Number.isSafeInteger(Number(big)) ? Number(big) : big)

// The value of these bytes, if they are its only encoding. Throws Refused.
export function decode (data, maxBytes) {
  if (data.length > maxBytes) throw new Refused('size', `${data.length} bytes`)
  const reader = new Reader(data)
  const value = reader.value(1)
  if (reader.at !== data.length) throw new Refused('not_msgpack', 'something stands behind the value')
  return value
}

// -------------------------------------------------------------------------------------------------------- encoding

const head = (type, bytes, value) => {
  const out = Buffer.alloc(1 + bytes)
  out[0] = type
  if (bytes === 8) out.writeBigUInt64BE(BigInt.asUintN(64, BigInt(value)), 1)
  else if (bytes > 0) out.writeUIntBE(Number(value), 1, bytes)
  return out
}

function sized (length, fix, most, one, two, four) {
  if (length <= most) return head(fix | length, 0)
  if (one !== null && length <= 0xff) return head(one, 1, length)
  return length <= 0xffff ? head(two, 2, length) : head(four, 4, length)
}

function integer (value) {
  if (value < INT_MIN || value > INT_MAX) throw new Refused('range')
  if (value >= 0) {
    if (value <= 0x7f) return head(Number(value), 0)
    if (value <= 0xff) return head(0xcc, 1, value)
    if (value <= 0xffff) return head(0xcd, 2, value)
    return value <= 0xffffffff ? head(0xce, 4, value) : head(0xcf, 8, value)
  }
  if (value >= -0x20) return head(0x100 + Number(value), 0)
  if (value >= -0x80) return head(0xd0, 1, 0x100 + Number(value))
  if (value >= -0x8000) return head(0xd1, 2, 0x10000 + Number(value))
  return value >= -0x80000000 ? head(0xd2, 4, 0x100000000 + Number(value)) : head(0xd3, 8, value)
}

// Plain objects are maps too, for what this program says itself.
function write (value, depth, key, out) {
  if (typeof value === 'boolean') out.push(head(value ? 0xc3 : 0xc2, 0))
  else if (isInt(value)) out.push(integer(value))
  else if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new Refused('text', 'half a character')
    const bytes = toUtf8.encode(checkText(value, key))
    out.push(sized(bytes.length, 0xa0, 0x1f, 0xd9, 0xda, 0xdb), bytes)
  } else if (isBytes(value)) {
    out.push(sized(value.length, 0, -1, 0xc4, 0xc5, 0xc6), value)
  } else if (Array.isArray(value)) {
    if (depth > MAX_DEPTH) throw new Refused('depth')
    if (value.length > MAX_ITEMS) throw new Refused('count')
    out.push(sized(value.length, 0x90, 0x0f, null, 0xdc, 0xdd))
    for (const item of value) write(item, depth + 1, null, out)
  } else if (value !== null && typeof value === 'object') {
    const entries = [...(value instanceof Map ? value : Object.entries(value))]
    if (depth > MAX_DEPTH) throw new Refused('depth')
    if (entries.length > MAX_KEYS) throw new Refused('count')
    entries.sort(([one], [other]) => (one < other ? -1 : 1))
    out.push(sized(entries.length, 0x80, 0x0f, null, 0xde, 0xdf))
    for (const [name, item] of entries) {
      if (!KEY.test(name)) throw new Refused('key', name)
      write(name, depth + 1, null, out)
      write(item, depth + 1, name, out)
    }
  } else throw new Refused('type', typeof value)
}

// The only bytes of a value. Throws Refused for what has none.
export function encode (value) {
  const out = []
  write(value, 1, null, out)
  return new Uint8Array(Buffer.concat(out))
}
