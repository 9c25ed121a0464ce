// Catch-up and peers ("Streams" in protocol/README.md): questions and answers, in turns, on one stream.

import { multiaddr } from '@multiformats/multiaddr'

import { bin } from './bodies.mjs'
import { hex, isBytes, Refused, sameBytes } from './codec.mjs'
import * as p from './protocol.mjs'

export const SYNC = '/intentcast/sync/1'
export const PEERS = '/intentcast/peers/1'
const PAGE = 256
const ASK_AT_ONCE = 64
const ANSWER_BYTES = 50000
const MAX_RECORD = 2048
const DAY = 86400
const now = () => Math.floor(Date.now() / 1000)

async function * values (stream) {
  const deframer = new p.Deframer()
  for await (const chunk of stream) {
    for (const data of deframer.feed(chunk.subarray())) yield p.decode(data, p.MAX_ITEM)
  }
}

async function say (stream, ...parts) {
  if (!stream.send(p.withLength(p.encode(parts)))) await stream.onDrain()
}

class Asker {
  constructor (stream) {
    this.stream = stream
    this.answers = values(stream)
  }

  async ask (word, ...parts) {
    await say(this.stream, ...parts)
    const { value, done } = await this.answers.next()
    if (done || !Array.isArray(value) || value[0] !== word) throw new Refused('request', `no ${word}`)
    return value.slice(1)
  }
}

// All a peer lists of these divisions, `most` at a time. -> { pages, ids, frames }
export async function catchUp (libp2p, address, divisions, most) {
  const stream = await libp2p.dialProtocol(multiaddr(address), SYNC)
  const asker = new Asker(stream)
  const salt = p.randomKey().subarray(0, 16)
  const ids = []
  let pages = 0
  let after = new Uint8Array(0)
  do {
    const [found, next] = await asker.ask('ids', 'list', salt, divisions, after, most)
    if (!found.every(bin(32)) || found.length > most) throw new Refused('request', 'not ids')
    const positions = found.map((id) => hex(p.blake2b(salt, id)))
    if (positions.some((position, i) => position <= (i === 0 ? hex(after) : positions[i - 1]))) {
      throw new Refused('request', 'not in the order of the salt')
    }
    ids.push(...found)
    after = next
    pages++
  } while (after.length > 0)
  const frames = []
  for (let missing = ids; missing.length > 0;) {
    const [found] = await asker.ask('frames', 'get', missing.slice(0, ASK_AT_ONCE))
    if (found.length === 0) break
    frames.push(...found)
    const here = found.map((frame) => p.readFrame(frame).id)
    missing = missing.filter((id) => !here.some((other) => sameBytes(other, id)))
  }
  await stream.close()
  return { pages, ids, frames }
}

// Answers others' questions about what hangs on a board.
export function serveCatchUp (libp2p, board) {
  return libp2p.handle(SYNC, async (stream) => {
    for await (const question of values(stream)) {
      if (question[0] === 'list') {
        const [, salt, divisions, after, most] = question
        const places = board.list(new Set(divisions)).map(({ id }) => ({ id, position: p.blake2b(salt, id) }))
        places.sort((one, other) => Buffer.compare(one.position, other.position))
        const behind = places.filter(({ position }) => Buffer.compare(position, after) > 0)
        const page = behind.slice(0, Math.min(most, PAGE))
        const next = page.length < behind.length ? page.at(-1).position : new Uint8Array(0)
        await say(stream, 'ids', page.map(({ id }) => id), next)
      } else if (question[0] === 'get') {
        const frames = []
        let size = 0
        for (const id of question[1].slice(0, ASK_AT_ONCE)) {
          const frame = board.get(id)?.frame
          if (frame === undefined) continue
          size += frame.length
          if (frames.length > 0 && size > ANSWER_BYTES) break
          frames.push(frame)
        }
        await say(stream, 'frames', frames)
      } else throw new Refused('request', 'not a question')
    }
    await stream.close()
  })
}

function readRecord (record, net) {
  const message = p.readFrame(record, MAX_RECORD)
  p.checkMessage(message, 'address', net)
  const { fields, author } = message
  if (fields.get('exp') > fields.get('at') + DAY) throw new Refused('life')
  if (p.isEarly(fields, now()) || p.isExpired(fields, now())) throw new Refused('time')
  const peer = p.peerIdText(author)
  return fields.get('body').get('addrs').map((address) => `${address}/p2p/${peer}`)
}

// Whom a peer knows, after telling it who we are. -> their addresses, one list for each record that is believed
export async function askPeers (libp2p, address, key, net) {
  const own = libp2p.getMultiaddrs()[0].toString().replace(/\/p2p\/.*/, '')
  const body = { addrs: [own] }
  const record = p.speak({ kind: 'address', net, by: key, at: now(), exp: now() + DAY, body }).frame
  const stream = await libp2p.dialProtocol(multiaddr(address), PEERS)
  const [records] = await new Asker(stream).ask('records', 'peers', record, 16)
  await stream.close()
  return records.filter(isBytes).flatMap((each) => {
    try {
      return [readRecord(each, net)]
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      return []
    }
  })
}
