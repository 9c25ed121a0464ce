// N js-libp2p nodes with gossipsub in one process: the other side of tests/bench/mesh.py, phase by phase the same.
// One argument: the plan, as JSON. Prints one line of JSON.
import './polyfill.mjs'

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto'

import { generateKeyPair } from '@libp2p/crypto/keys'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'

const plan = JSON.parse(process.argv[2])
const TOPIC = plan.topic
const HEAD = 104 // [key, signature, payload] in msgpack: everything before the payload's first byte
const KEY_AT = 3
const SIGNATURE_AT = 37
const DER = Buffer.from('302a300506032b6570032100', 'hex') // SubjectPublicKeyInfo of an Ed25519 key, before its bytes
const signedOver = Buffer.from(`intentcast/1\0gossip\0${plan.net}\0`)

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const seconds = () => Number(process.hrtime.bigint()) / 1e9
const cpu = () => { const used = process.cpuUsage(); return (used.user + used.system) / 1e6 }

// ------------------------------------------------------------------------------------------------------- messages

function makeAuthors (count) {
  const authors = []
  for (let i = 0; i < count; i++) {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    authors.push({ privateKey, raw: publicKey.export({ format: 'der', type: 'spki' }).subarray(-32) })
  }
  return authors
}

const authors = plan.signed ? [] : makeAuthors(plan.authors)
const filling = randomBytes(plan.bytes)
let next = 0

/** A message of plan.bytes with its number in it; unless gossipsub signs, one that its author signed as our frames are. */
function makeMessage (number) {
  const message = Buffer.from(filling)
  message.writeUInt32BE(number, HEAD)
  if (plan.signed) return message
  const author = authors[number % authors.length]
  const payload = message.subarray(HEAD)
  message.set([0x93, 0xc4, 32], 0)
  message.set(author.raw, KEY_AT)
  message.set([0xc4, 64], KEY_AT + 32)
  message.set(sign(null, Buffer.concat([signedOver, payload]), author.privateKey), SIGNATURE_AT)
  message.set([0xc5, payload.length >> 8, payload.length & 255], SIGNATURE_AT + 64)
  return message
}

function validate (_peer, message) {
  const frame = message.data
  const key = createPublicKey({ key: Buffer.concat([DER, frame.subarray(KEY_AT, KEY_AT + 32)]), format: 'der', type: 'spki' })
  const good = verify(null, Buffer.concat([signedOver, frame.subarray(HEAD)]), key, frame.subarray(SIGNATURE_AT, SIGNATURE_AT + 64))
  return good ? 'accept' : 'reject'
}

function messageId (message) {
  return createHash('sha256').update(TOPIC).update(message.data).digest().subarray(0, 20)
}

// ------------------------------------------------------------------------------------------------------- the mesh

let copies = 0
let deliveries = 0
const flying = new Map() // number of a message -> who still misses it, and whom to tell

function delivered (data) {
  deliveries++
  const number = Buffer.from(data.buffer, data.byteOffset, data.byteLength).readUInt32BE(HEAD)
  const flight = flying.get(number)
  if (flight !== undefined && --flight.missing === 0) {
    flying.delete(number)
    flight.landed(seconds() - flight.since)
  }
}

async function openNode () {
  const node = await createLibp2p({
    privateKey: await generateKeyPair('Ed25519'),
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { inboundConnectionThreshold: 10_000, maxIncomingPendingConnections: 10_000 },
    services: {
      identify: identify(),
      pubsub: gossipsub({
        D: plan.d,
        Dlo: plan.d_low,
        Dhi: plan.d_high,
        heartbeatInterval: plan.heartbeat * 1000,
        allowPublishToZeroTopicPeers: true,
        scoreParams: { IPColocationFactorWeight: 0 },
        ...(plan.signed ? {} : { globalSignaturePolicy: 'StrictNoSign', msgIdFn: messageId })
      })
    }
  })
  const pubsub = node.services.pubsub
  const receive = pubsub.handleReceivedMessage.bind(pubsub)
  pubsub.handleReceivedMessage = (from, message) => { copies++; return receive(from, message) }
  pubsub.addEventListener('message', event => delivered(event.detail.data))
  if (!plan.signed) pubsub.topicValidators.set(TOPIC, validate)
  return node
}

async function openMesh () {
  const nodes = []
  for (let i = 0; i < plan.nodes; i++) nodes.push(await openNode())
  for (const node of nodes) node.services.pubsub.subscribe(TOPIC)
  for (const [a, b] of plan.links) await nodes[a].dial(nodes[b].getMultiaddrs()[0])
  const links = nodes.map((_, i) => plan.links.filter(link => link.includes(i)).length)
  const ready = (node, i) => {
    const pubsub = node.services.pubsub
    return pubsub.getSubscribers(TOPIC).length === links[i] && pubsub.getMeshPeers(TOPIC).length >= Math.min(plan.d_low, links[i])
  }
  const deadline = seconds() + 60
  while (!nodes.every(ready)) {
    if (seconds() > deadline) throw new Error('the mesh did not form')
    await sleep(100)
  }
  await sleep(plan.settle * 1000)
  return nodes
}

/** Publish by the next node in turn; resolves to the seconds until the last of the others has it, or null: lost. */
function publish (nodes) {
  const number = next++
  const author = nodes[number % nodes.length]
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => { flying.delete(number); resolve(null) }, plan.deadline * 1000)
    flying.set(number, {
      missing: nodes.length - 1,
      since: seconds(),
      landed: took => { clearTimeout(late); resolve(took) }
    })
    author.services.pubsub.publish(TOPIC, makeMessage(number)).catch(reject)
  })
}

async function idle (nodes) {
  const times = []
  for (let i = 0; i < plan.idle_messages; i++) {
    times.push(await publish(nodes))
    await sleep(plan.idle_pause * 1000)
  }
  return times
}

async function load (nodes) {
  const flights = []
  const begin = seconds()
  for (let i = 0; i < plan.load_rate * plan.load_seconds; i++) {
    await sleep(Math.max(0, (begin + i / plan.load_rate - seconds()) * 1000))
    flights.push(publish(nodes))
  }
  return await Promise.all(flights)
}

async function flow (nodes) {
  const end = seconds() + plan.flow_seconds
  let lost = 0
  const begin = { at: seconds(), cpu: cpu(), copies, deliveries }
  await Promise.all(Array.from({ length: plan.window }, async () => {
    while (seconds() < end) if (await publish(nodes) === null) lost++
  }))
  const took = seconds() - begin.at
  return {
    deliveries: deliveries - begin.deliveries,
    copies: copies - begin.copies,
    seconds: took,
    cpu_seconds: cpu() - begin.cpu,
    lost
  }
}

const before = process.memoryUsage().rss
const nodes = await openMesh()
const bytesPerNode = (process.memoryUsage().rss - before) / plan.nodes
for (let i = 0; i < plan.warm_messages; i++) await publish(nodes)
const result = {
  idle: await idle(nodes),
  load: await load(nodes),
  flow: await flow(nodes),
  mesh_sizes: nodes.map(node => node.services.pubsub.getMeshPeers(TOPIC).length),
  bytes_per_node: bytesPerNode
}
process.stdout.write(JSON.stringify(result) + '\n')
process.exit(0)
