// Catch-up ("Catch-up" in protocol/README.md) without its stream: fingerprints of ranges, what is answered, what is asked.
// `idsOf(division)` gives the ids somebody holds there, in any order. Nothing is remembered between two questions.

import { encode, isBytes, Refused } from './codec.mjs'
import { digest, hex } from './protocol.mjs'

const FEW = 8
const MOST = 256
const ANSWER_BYTES = 50000
const MAX_TURNS = 500
const DIGITS = [...'0123456789abcdef']
const RANGE = /^([a-z0-9-]{1,32})\/([0-9a-f]{0,16})$/

const within = (ids, digits) => ids.filter((id) => hex(id).startsWith(digits)).sort(Buffer.compare)

export function fingerprint (ids, digits = '') {
  const here = within(ids, digits)
  if (here.length <= FEW || digits.length === 16) return digest(Buffer.of(0), ...here)
  return digest(Buffer.of(1), ...DIGITS.map((digit) => fingerprint(here, digits + digit)))
}

export const mark = (print, salt) => digest(salt, print).subarray(0, 8)
const marksOf = (ids, digits, salt) =>
  Buffer.concat(DIGITS.map((digit) => mark(fingerprint(ids, digits + digit), salt)))

function split (range) {
  const found = typeof range === 'string' && RANGE.exec(range)
  if (!found) throw new Refused('request', 'not a range')
  return { division: found[1], digits: found[2] }
}

// What a server says to a question, `compare` or `open`.
export function answer (question, idsOf) {
  const [word, salt, ranges, most] = question
  const wanted = { compare: 3, open: 4 }[word]
  if (question.length !== wanted || !isBytes(salt, 16) || !Array.isArray(ranges) || ranges.length === 0) {
    throw new Refused('request', 'not a question')
  }
  if (word === 'open' && !(Number.isInteger(most) && most >= FEW && most <= MOST)) throw new Refused('request', 'most')
  const asked = ranges.map(split)
  if (word === 'compare') {
    return ['marks', asked.map(({ division, digits }) => mark(fingerprint(idsOf(division), digits), salt))]
  }
  const parts = []
  let size = 0
  for (const { division, digits } of asked) {
    const ids = within(idsOf(division), digits)
    const part = ids.length <= most || digits.length === 16 ? ids.slice(0, MOST) : marksOf(ids, digits, salt)
    size += encode(part).length
    if (parts.length > 0 && size > ANSWER_BYTES) break
    parts.push(part)
  }
  return ['parts', parts]
}

function checkPart (part, digits, most) {
  if (isBytes(part)) {
    if (part.length !== 128 || digits.length === 16) throw new Refused('request', 'not marks')
    return
  }
  const fine = Array.isArray(part) && (part.length <= most || digits.length === 16) && part.every((id, i) =>
    isBytes(id, 32) && hex(id).startsWith(digits) && (i === 0 || Buffer.compare(part[i - 1], id) < 0))
  if (!fine) throw new Refused('request', 'not the ids of a range')
}

// Asks until it knows what it lacks. `ask(word, question)` -> the list behind that word. -> { turns, missing }
export async function reconcile (ask, idsOf, divisions, salt) {
  const nothing = hex(mark(fingerprint([]), salt))
  const differs = (shown, ids, digits) =>
    hex(shown) !== nothing && hex(shown) !== hex(mark(fingerprint(ids, digits), salt))
  const ranges = divisions.map((division) => `${division}/`)
  const marks = await ask('marks', ['compare', salt, ranges])
  if (marks.length !== ranges.length || !marks.every((each) => isBytes(each, 8))) {
    throw new Refused('request', 'not marks')
  }
  const waiting = { [FEW]: [], [MOST]: [] }
  divisions.forEach((division, i) => {
    const held = idsOf(division)
    if (differs(marks[i], held, '')) waiting[held.length > 0 ? FEW : MOST].push(ranges[i])
  })
  const missing = []
  let turns = 1
  for (; turns <= MAX_TURNS; turns++) {
    const most = [FEW, MOST].find((each) => waiting[each].length > 0)
    if (most === undefined) break
    const asked = waiting[most].splice(-MOST)
    const parts = await ask('parts', ['open', salt, asked, most])
    if (parts.length === 0 || parts.length > asked.length) throw new Refused('request', 'not parts')
    waiting[most].push(...asked.slice(parts.length))
    parts.forEach((part, i) => {
      const { division, digits } = split(asked[i])
      checkPart(part, digits, most)
      const held = within(idsOf(division), digits)
      if (isBytes(part)) {
        const changed = DIGITS.filter((digit, at) => differs(part.subarray(8 * at, 8 * at + 8), held, digits + digit))
        waiting[held.length > 0 ? FEW : MOST].push(...changed.map((digit) => asked[i] + digit))
      } else {
        const known = new Set(held.map(hex))
        missing.push(...part.filter((id) => !known.has(hex(id))))
      }
    })
  }
  return { turns, missing }
}
