// Values and keys as tests/vectors writes them: bytes are {"$bin": hex}, integers beyond 2^53 are {"$int": digits}.
import * as p from './protocol.mjs'

export function value (v) {
  if (Array.isArray(v)) return v.map(value)
  if (typeof v !== 'object' || v === null) return v
  if ('$bin' in v) return p.unhex(v.$bin)
  if ('$int' in v) return BigInt(v.$int)
  return Object.assign(Object.create(null), Object.fromEntries(Object.entries(v).map(([k, x]) => [k, value(x)])))
}

export const tagged = v => Array.isArray(v) ? v.map(tagged) // Buffers and BigInts by what they mean
  : v instanceof Uint8Array ? { $bin: p.hex(v) }
  : typeof v === 'bigint' ? { $int: String(v) }
  : v && typeof v === 'object' ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => a < b ? -1 : 1).map(([k, x]) => [k, tagged(x)]))
  : v

export const receiver = r => ({ ...r, own: p.box(p.unhex(r.own)), ownIsBox: r.own_is_box, me: p.unhex(r.me), root: p.unhex(r.root),
  expectedAuthor: r.expected_author && p.unhex(r.expected_author) })
