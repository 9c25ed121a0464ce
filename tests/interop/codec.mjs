// The strict subset of msgpack: one encoding for each value. Maps are objects without a prototype, because a key may be
// called `constructor` or `__proto__`; integers are numbers where a double holds them exactly, else BigInt.

export const MOST = { depth: 8, keys: 64, items: 256 }
const INT_MIN = -(2n ** 63n), INT_MAX = 2n ** 63n - 1n
const KEY = /^[a-z0-9_.-]{1,64}$/
// Controls, and what turns the direction of reading.
const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }) // else a leading U+FEFF would be lost

export class Refused extends Error {
  constructor (reason, detail = '') { super(detail ? `${reason}: ${detail}` : reason); this.reason = reason }
}
export const refuse = (reason, detail) => { throw new Refused(reason, detail) }

export const isInt = v => Number.isInteger(v) || typeof v === 'bigint'
export const isBytes = (v, length) => v instanceof Uint8Array && (length === undefined || v.length === length)
export const isMap = v => typeof v === 'object' && v !== null && !Array.isArray(v) && !isBytes(v)

const multiline = key => key === 'note' || key === 'chat'
function checkText (text, key) {
  if (FORBIDDEN.test(multiline(key) ? text.replaceAll('\n', '') : text)) refuse('text')
}

export function decode (bytes, most) {
  if (bytes.length > most) refuse('size')
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = 0
  const take = n => {
    if (n > data.length - at) refuse('not_msgpack', 'cut')
    at += n
    return data.subarray(at - n, at)
  }
  const uint = n => n === 8 ? take(8).readBigUInt64BE() : take(n).readUIntBE(0, n)
  const small = (v, least) => v < least ? refuse('not_canonical', 'longer than needed') : v
  // lengths of str (after the fixstr), and of array and map
  const length = (width, least) => small(uint(width), least)

  function text (n) {
    const raw = take(n)
    try { return utf8.decode(raw) } catch { refuse('not_msgpack', 'not UTF-8') }
  }
  function array (n, depth) {
    if (depth > MOST.depth) refuse('depth')
    if (n > MOST.items) refuse('count')
    return Array.from({ length: n }, () => value(depth + 1))
  }
  function map (n, depth) {
    if (depth > MOST.depth) refuse('depth')
    if (n > MOST.keys) refuse('count')
    const out = Object.create(null)
    for (let i = 0, last = ''; i < n; i++) {
      const key = value(depth + 1, 'a key')
      if (typeof key !== 'string') refuse('type', 'key')
      if (!KEY.test(key) || key <= last) refuse('key') // ascending and once; keys are ASCII, so < compares bytes
      out[last = key] = value(depth + 1, key)
    }
    return out
  }
  function string (n, key) {
    const out = text(n)
    if (key !== 'a key') checkText(out, key)
    return out
  }
  function signed (width) {
    const raw = take(width)
    const v = width === 8 ? raw.readBigInt64BE() : raw.readIntBE(0, width)
    const least = { 1: -33, 2: -129, 4: -32769, 8: -2147483649 }[width]
    return v > least ? refuse('not_canonical') : narrow(v)
  }
  const narrow = v => typeof v === 'bigint' && v >= Number.MIN_SAFE_INTEGER && v <= Number.MAX_SAFE_INTEGER ? Number(v) : v

  function value (depth, key) {
    const tag = uint(1)
    if (tag < 0x80) return tag
    if (tag < 0x90) return map(tag & 15, depth)
    if (tag < 0xa0) return array(tag & 15, depth)
    if (tag < 0xc0) return string(tag & 31, key)
    if (tag >= 0xe0) return tag - 256
    switch (tag) {
      case 0xc2: return false
      case 0xc3: return true
      case 0xc4: return take(uint(1))
      case 0xc5: return take(length(2, 1 << 8))
      case 0xc6: return take(length(4, 1 << 16))
      case 0xcc: return small(uint(1), 1 << 7)
      case 0xcd: return small(uint(2), 1 << 8)
      case 0xce: return small(uint(4), 1 << 16)
      case 0xcf: {
        const v = small(uint(8), 2n ** 32n)
        return v > INT_MAX ? refuse('range') : narrow(v)
      }
      case 0xd0: return signed(1)
      case 0xd1: return signed(2)
      case 0xd2: return signed(4)
      case 0xd3: return signed(8)
      case 0xd9: return string(length(1, 32), key)
      case 0xda: return string(length(2, 1 << 8), key)
      case 0xdb: return string(length(4, 1 << 16), key)
      case 0xdc: return array(length(2, 16), depth)
      case 0xdd: return array(length(4, 1 << 16), depth)
      case 0xde: return map(length(2, 16), depth)
      case 0xdf: return map(length(4, 1 << 16), depth)
      case 0xc1: return refuse('not_msgpack')
      default: return refuse('type') // nil, floats, extensions
    }
  }

  const out = value(1)
  if (at !== data.length) refuse('not_msgpack', 'something behind the value')
  return out
}

const head = (tag, width, n) => {
  const out = Buffer.alloc(1 + width)
  out[0] = tag
  const bits = BigInt.asUintN(8 * width, BigInt(n)) // two's complement
  if (width === 8) out.writeBigUInt64BE(bits, 1)
  else out.writeUIntBE(Number(bits), 1, width)
  return out
}
const sized = (n, fix, fixMost, ...wider) => { // wider: [most, tag, width], ascending
  if (n <= fixMost) return Buffer.of(fix | n)
  const [, tag, width] = wider.find(([most]) => n <= most)
  return head(tag, width, n)
}

export function encode (value) {
  const parts = []
  const put = (v, depth, key) => {
    if (v === true || v === false) parts.push(Buffer.of(v ? 0xc3 : 0xc2))
    else if (isInt(v)) {
      if (typeof v === 'number' && !Number.isSafeInteger(v)) refuse('range', 'use a BigInt')
      if (v > INT_MAX || v < INT_MIN) refuse('range')
      if (v >= -32 && v < 128) parts.push(Buffer.of(Number(v) & 255))
      else {
        const [, tag, width] = v >= 0
          ? [[1n << 8n, 0xcc, 1], [1n << 16n, 0xcd, 2], [1n << 32n, 0xce, 4], [1n << 64n, 0xcf, 8]].find(([m]) => v < m)
          : [[-128, 0xd0, 1], [-32768, 0xd1, 2], [-2147483648, 0xd2, 4], [INT_MIN, 0xd3, 8]].find(([m]) => v >= m)
        parts.push(head(tag, width, v))
      }
    } else if (typeof v === 'string') {
      if (!v.isWellFormed()) refuse('text', 'half a surrogate')
      checkText(v, key)
      const raw = Buffer.from(v)
      parts.push(sized(raw.length, 0xa0, 31, [255, 0xd9, 1], [65535, 0xda, 2], [Infinity, 0xdb, 4]), raw)
    } else if (isBytes(v)) {
      parts.push(sized(v.length, 0, -1, [255, 0xc4, 1], [65535, 0xc5, 2], [Infinity, 0xc6, 4]), v)
    } else if (Array.isArray(v)) {
      if (depth > MOST.depth) refuse('depth')
      if (v.length > MOST.items) refuse('count')
      parts.push(sized(v.length, 0x90, 15, [65535, 0xdc, 2]))
      for (const x of v) put(x, depth + 1)
    } else if (isMap(v)) {
      const keys = Object.keys(v).filter(k => v[k] !== undefined).sort() // undefined is how a caller says nothing
      if (depth > MOST.depth) refuse('depth')
      if (keys.length > MOST.keys) refuse('count')
      parts.push(sized(keys.length, 0x80, 15, [65535, 0xde, 2]))
      for (const k of keys) {
        if (!KEY.test(k)) refuse('key', k)
        put(k, depth + 1)
        put(v[k], depth + 1, k)
      }
    } else refuse('type', typeof v)
  }
  put(value, 1)
  return Buffer.concat(parts)
}
