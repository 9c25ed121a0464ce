// Catch-up and peers ("Streams" in protocol/README.md): questions and answers, in turns, on one stream.

import { randomBytes } from 'node:crypto'

import { multiaddr } from '@multiformats/multiaddr'

import { decode, encode, isBytes, Refused } from './codec.mjs'
import * as p from './protocol.mjs'
import { answer, reconcile } from './reconcile.mjs'

export const SYNC = '/intentcast/sync/1'
export const PEERS = '/intentcast/peers/1'
const ASK_AT_ONCE = 64
const ANSWER_BYTES = 50000
const DAY = 86400
const now = () => Math.floor(Date.now() / 1000)

async function * values (stream) {
  for await (const data of p.values(stream)) yield decode(data, p.MOST_ITEM)
}

async function say (stream, ...parts) {
  if (!stream.send(p.withLength(encode(parts)))) await stream.onDrain()
}

class Asker {
  constructor (stream) {
    this.stream = stream
    this.answers = values(stream)
  }

  // The list behind the word of the answer.
  async ask (word, ...question) {
    await say(this.stream, ...question)
    const { value, done } = await this.answers.next()
    const fine = !done && Array.isArray(value) && value[0] === word && Array.isArray(value[1])
    if (!fine) throw new Refused('request', `no ${word}`)
    return value[1]
  }
}

const idsIn = (board) => (division) => board.list(division, now()).map(({ id }) => id)

// What a peer has of these divisions and this board has not. -> { turns, ids, frames }
export async function catchUp (libp2p, address, divisions, board) {
  const stream = await libp2p.dialProtocol(multiaddr(address), SYNC)
  const asker = new Asker(stream)
  const salt = randomBytes(16)
  const ask = (word, question) => asker.ask(word, ...question)
  const { turns, missing: ids } = await reconcile(ask, idsIn(board), divisions, salt)
  const frames = []
  for (let missing = ids; missing.length > 0;) {
    const found = await asker.ask('frames', 'get', missing.slice(0, ASK_AT_ONCE))
    if (found.length === 0) break
    frames.push(...found)
    const here = found.map((frame) => p.parseFrame(frame, p.MOST_GOSSIP).id)
    missing = missing.filter((id) => !here.some((other) => p.same(other, id)))
  }
  await stream.close()
  return { turns, ids, frames }
}

// Answers others' questions about what hangs on a board.
export function serveCatchUp (libp2p, board) {
  return libp2p.handle(SYNC, async (stream) => {
    for await (const question of values(stream)) {
      if (question[0] === 'compare' || question[0] === 'open') {
        await say(stream, ...answer(question, idsIn(board)))
      } else if (question[0] === 'get') {
        const frames = []
        let size = 0
        for (const id of question[1].slice(0, ASK_AT_ONCE)) {
          const frame = board.get(id)?.data
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

// Whom a peer knows, after telling it who we are. -> their addresses, one list for each record that is believed
export async function askPeers (libp2p, address, key, net) {
  const own = libp2p.getMultiaddrs()[0].toString().replace(/\/p2p\/.*/, '')
  const body = { addrs: [own] }
  const record = p.speak(key, { kind: 'address', net, at: now(), exp: now() + DAY, body }).data
  const stream = await libp2p.dialProtocol(multiaddr(address), PEERS)
  const records = await new Asker(stream).ask('records', 'peers', record, 16)
  await stream.close()
  return records.filter((each) => isBytes(each)).flatMap((each) => {
    try {
      const { peer, head } = p.openRecord(each, { net, now: now() })
      return [head.body.addrs.map((address) => `${address}/p2p/${peer}`)]
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      return []
    }
  })
}
