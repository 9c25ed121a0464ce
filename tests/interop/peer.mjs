// A peer that nobody here wrote: js-libp2p with its own gossipsub. Driven by JSON, a line each:
//   node peer.mjs '{"seed": hex, "net": "test", ...}'     the options are at `const options` below
//   stdin:  {"id": 1, "do": "dial", "address": "..."}     the commands are at `const commands`
//   stdout: {"reply": 1, ...} or {"reply": 1, "error": "..."}, and {"event": "heard", ...} as things happen
// It ends when stdin does.

import './polyfill.mjs'

import { createInterface } from 'node:readline'

import { noise } from '@libp2p/noise'
import { yamux } from '@libp2p/yamux'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { gossipsub, StrictNoSign, StrictSign, TopicValidatorResult } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

import { Requester, Vendor } from './deals.mjs'
import * as p from './protocol.mjs'
import { hex, unhex } from './protocol.mjs'
import { askPeers, catchUp, serveCatchUp } from './sync.mjs'

const options = {
  seed: null,
  net: 'test',
  signed: false, // StrictSign: messages with `from`, `seqno`, `signature` and `key`
  gossip: {}, // D, Dlo, Dhi, ..., as gossipsub names them
  sells: null, // the body of the offer it answers wishes with; null: it sells nothing
  ...JSON.parse(process.argv[2])
}
const now = () => Math.floor(Date.now() / 1000)
const tell = (event) => process.stdout.write(JSON.stringify({ ...event, ms: performance.now() }) + '\n')

const board = new p.Board(options.net)
const divisionOfTopic = (topic) => topic.slice(p.topicOf(options.net, '').length)
const VERDICTS = {
  accept: TopicValidatorResult.Accept,
  reject: TopicValidatorResult.Reject,
  ignore: TopicValidatorResult.Ignore
}
// Only invalid messages count, and they count for long.
const TOPIC_SCORE = {
  topicWeight: 1,
  timeInMeshWeight: 0,
  firstMessageDeliveriesWeight: 0,
  meshMessageDeliveriesWeight: 0,
  meshFailurePenaltyWeight: 0,
  invalidMessageDeliveriesWeight: -1,
  invalidMessageDeliveriesDecay: 0.999
}

const libp2p = await createLibp2p({
  privateKey: await generateKeyPairFromSeed('Ed25519', unhex(options.seed)),
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionManager: { inboundConnectionThreshold: 1000 }, // all of a test's peers share one address
  services: {
    identify: identify(),
    pubsub: gossipsub({
      globalSignaturePolicy: options.signed ? StrictSign : StrictNoSign,
      msgIdFn: ({ topic, data }) => p.messageId(topic, data),
      allowPublishToZeroTopicPeers: true,
      emitSelf: false,
      scoreParams: { IPColocationFactorWeight: 0, topics: { [p.topicOf(options.net, 'mobility')]: TOPIC_SCORE } },
      ...options.gossip
    })
  }
})
const { pubsub } = libp2p.services
const publish = (division, frame) => pubsub.publish(p.topicOf(options.net, division), frame)
await serveCatchUp(libp2p, board)
const vendor = options.sells && new Vendor({
  libp2p, net: options.net, tell, offer: options.sells
})

// ---------------------------------------------------------------------------------------------------- what happens

function judge (peer, { topic, data }) {
  const { verdict, reason, message } = board.hear(data, divisionOfTopic(topic), now())
  const via = peer.toString()
  tell({ event: 'heard', verdict, reason, via, id: message && hex(message.id), kind: message?.head.kind })
  if (message && vendor) {
    vendor.hear(message).catch((error) => tell({ event: 'vendor failed', error: error.message }))
  }
  return VERDICTS[verdict]
}

// gossipsub has no events for control messages, so listen in where it handles them.
function listenIn (name, describe) {
  const original = pubsub[name].bind(pubsub)
  pubsub[name] = (peer, entries) => {
    for (const entry of entries ?? []) tell({ event: name, peer, ...describe(entry) })
    return original(peer, entries)
  }
}
listenIn('handleGraft', ({ topicID }) => ({ topic: topicID }))
listenIn('handlePrune', ({ topicID, backoff }) => ({ topic: topicID, backoff: Number(backoff ?? 0) }))
listenIn('handleIHave', ({ topicID, messageIDs }) => ({ topic: topicID, ids: messageIDs.map(hex) }))
listenIn('handleIWant', ({ messageIDs }) => ({ ids: messageIDs.map(hex) }))

// What a peer is worth is counted after our verdict, and cached for a while: tests want to know it now.
pubsub.score.scoreCacheValidityMs = 0
const { rejectMessage, addPenalty } = pubsub.score
pubsub.score.rejectMessage = (peer, ...about) => {
  rejectMessage.call(pubsub.score, peer, ...about)
  tell({ event: 'scored', peer, score: pubsub.score.score(peer) })
}
pubsub.score.addPenalty = (peer, penalty, why) => {
  addPenalty.call(pubsub.score, peer, penalty, why)
  tell({ event: 'penalty', peer, why })
}

let lastMesh = ''
pubsub.addEventListener('gossipsub:heartbeat', () => {
  const mesh = Object.fromEntries([...pubsub.mesh].map(([topic, peers]) => [topic, [...peers]]))
  if (JSON.stringify(mesh) === lastMesh) return
  lastMesh = JSON.stringify(mesh)
  tell({ event: 'mesh', mesh })
})

pubsub.addEventListener('subscription-change', ({ detail }) => {
  for (const { topic, subscribe } of detail.subscriptions) {
    tell({ event: 'subscription', peer: detail.peerId.toString(), topic, on: subscribe })
  }
})
for (const name of ['peer:connect', 'peer:disconnect']) {
  libp2p.addEventListener(name, ({ detail }) => tell({ event: name, peer: detail.toString() }))
}

// ------------------------------------------------------------------------------------------------------- commands

// A wish of a fresh key, with nothing that may be left out.
function makeWish (division, title) {
  return p.speak(p.signer(), {
    kind: 'intent',
    net: options.net,
    at: now(),
    exp: now() + 3600,
    stamp: Buffer.alloc(8),
    body: { action: 'rent', category: `${division}.car`, title, box: p.box().key }
  })
}

const commands = {
  async dial ({ address }) {
    await libp2p.dial(multiaddr(address))
  },
  async hangUp ({ peer }) {
    const connections = libp2p.getConnections().filter((each) => each.remotePeer.toString() === peer)
    await Promise.all(connections.map((each) => each.close()))
  },
  async subscribe ({ division }) {
    const topic = p.topicOf(options.net, division)
    pubsub.topicValidators.set(topic, judge)
    pubsub.subscribe(topic)
  },
  async unsubscribe ({ division }) {
    pubsub.unsubscribe(p.topicOf(options.net, division))
  },
  async publish ({ division, data }) { // bytes as they are, good or bad
    return { recipients: (await publish(division, unhex(data))).recipients.map(String) }
  },
  async say ({ division, count }) { // so many wishes of its own
    const ids = []
    for (let i = 0; i < count; i++) {
      const wish = makeWish(division, `Wish ${i} in another language`)
      board.hear(wish.data, division, now())
      await publish(division, wish.data)
      ids.push(hex(wish.id))
    }
    return { ids }
  },
  async ask ({ wish }) {
    return { id: await new Requester({ libp2p, net: options.net, tell, publish }).ask(wish) }
  },
  async repeat () { // everything it sold with, byte for byte
    await vendor.repeat()
  },
  async stray () { // an offer sealed to a box nobody has
    await vendor.stray()
  },
  async catchUp ({ address, division }) { // what a peer has and this board has not
    const { turns, ids, frames } = await catchUp(libp2p, address, [division], board)
    const verdicts = frames.map((frame) => board.hear(frame, division, now()).verdict)
    return { turns, ids: ids.map(hex), verdicts }
  },
  async askPeers ({ address }) {
    return { known: await askPeers(libp2p, address, p.signer(unhex(options.seed)), options.net) }
  },
  async look ({ division, peer }) {
    const topic = p.topicOf(options.net, division)
    return {
      mesh: [...(pubsub.mesh.get(topic) ?? [])],
      subscribers: pubsub.getSubscribers(topic).map(String),
      protocol: pubsub.streamsOutbound.get(peer)?.protocol ?? null,
      score: peer === undefined ? null : pubsub.score.score(peer),
      backoff: Math.max(0, (pubsub.backoff.get(topic)?.get(peer) ?? 0) - Date.now()) / 1000
    }
  }
}

tell({ event: 'ready', peer: libp2p.peerId.toString(), address: libp2p.getMultiaddrs()[0].toString() })
for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: name, ...words } = JSON.parse(line)
  try {
    tell({ reply: id, ...(await commands[name](words)) })
  } catch (error) {
    tell({ reply: id, error: `${error.name}: ${error.message}` })
  }
}
await libp2p.stop()
process.exit(0)
