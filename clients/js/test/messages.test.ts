// Messages between keys (PROTOCOL.md section 12), against the fake server.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import {
  Client, ClosedError, generateSecret, identityOf, NotOfferedError, RefusedError, UsageError,
  type Json, type Message, type Options, type Receipt,
} from '@mida/client'
import { Clock } from './clock.js'
import { Fake, MEMBER, METADATA, type Peer } from './fake.js'
import { Queue } from './queue.js'

const SECRET = generateSecret()
const [ANN, BOB, CYD] = [1, 2, 3].map((n) => identityOf(n.toString(16).padStart(64, '0'))) as [string, string, string]
let fake: Fake
before(async () => (fake = await Fake.start()))
after(() => fake.stop())

interface Pair {
  readonly client: Client
  readonly peer: Peer
  readonly clock: Clock
}

/** A client that is logged in. */
async function logIn(options: Options = {}, rules: object = MEMBER): Promise<Pair> {
  const clock = new Clock()
  const client = new Client(fake.url, { secret: SECRET, environment: clock.environment, ...options })
  const peer = await fake.peer()
  await peer.login(rules)
  await client.opened()
  return { client, peer, clock }
}

/** Closes the connection and gives the next one, logged in. */
async function comeBack({ client, peer, clock }: Pair, code = 1001, rules: object = MEMBER): Promise<Peer> {
  peer.socket.close(code)
  while (client.state !== 'waiting') await new Promise(setImmediate)
  clock.advance(60_000)
  const next = await fake.peer()
  await next.login(rules)
  await client.opened()
  return next
}

const stored = (re: string, to?: string): [number, object] => [0x83, { re, ...(to && { to }), id: `s-${re}`, state: 'stored' }]
const message = (id: string, change: object = {}): [number, object] => [0x82, { id, from: ANN, ts: 1, body: { n: id }, ...change }]

test('a message to one key is fulfilled by its receipt', async () => {
  const { client, peer } = await logIn()
  const receipt = client.send(BOB.toUpperCase(), { text: 'hi' })
  const sent = await peer.next(0x81)
  assert.match(sent['id'], /^[0-9a-f]{32}$/)
  assert.deepEqual(sent, { id: sent['id'], to: BOB, body: { text: 'hi' } })
  peer.say(stored('another', BOB), stored(sent['id'], ANN), stored(sent['id'], BOB))
  assert.deepEqual(await receipt, { to: BOB, id: `s-${sent['id']}`, state: 'stored' })
  client.close()
})

test('a message to many keys waits for a receipt of each, of which some may refuse', async () => {
  const { client, peer } = await logIn()
  const receipts = client.send([ANN, BOB, ANN, CYD], 7, { id: 'x', live: true })
  assert.deepEqual(await peer.next(0x81), { id: 'x', to: [ANN, BOB, CYD], body: 7, live: true })
  peer.say(stored('x', BOB), [0x83, { re: 'x', to: BOB, state: 'delivered' }])
  peer.say([0x83, { re: 'x', to: CYD, state: 'refused', code: 'mailbox_full' }], stored('x', ANN))
  assert.deepEqual((await receipts).map(({ to, state }) => [to, state]), [[BOB, 'stored'], [CYD, 'refused'], [ANN, 'stored']])
  client.close()
})

test('a refusal rejects: by an error with its id, or by the receipt of the only recipient', async () => {
  const { client, peer } = await logIn()
  const [first, second, third] = ['a', 'b', 'c'].map((id) => client.send(BOB, null, { id }))
  for (const _ of 'abc') await peer.next(0x81)
  peer.say([128, { code: 'id_reused', msg: 'no', re: 0x81, id: 'b', retry: 'no' }])
  peer.say([0x83, { re: 'c', to: BOB, state: 'refused', code: 'mailbox_full' }], stored('a', BOB))
  await assert.rejects(second!, (error) => error instanceof RefusedError && error.code === 'id_reused' && error.fault === 'caller')
  await assert.rejects(third!, (error) => error instanceof RefusedError && error.code === 'mailbox_full' && error.fault === 'server')
  assert.equal((await first!).state, 'stored')
  client.close()
})

test('what has no receipt is sent again under its id, and what has one is not', async () => {
  const pair = await logIn()
  const { client, peer } = pair
  const receipts = ['a', 'b', 'c'].map((id) => client.send(BOB, { id }, { id }))
  const sent = [await peer.next(0x81), await peer.next(0x81), await peer.next(0x81)]
  peer.say(stored('b', BOB))
  await receipts[1]
  const queued = comeBack(pair)
  const late = client.send(BOB, 'late', { id: 'd' })
  const next = await queued
  assert.deepEqual([await next.next(0x81), await next.next(0x81)], [sent[0], sent[2]])
  assert.equal((await next.next(0x81))['id'], 'd')
  next.say(stored('d', BOB), stored('c', BOB), stored('a', BOB))
  assert.deepEqual((await Promise.all([...receipts, late])).map(({ id }) => id), ['s-a', 's-b', 's-c', 's-d'])
  assert.deepEqual(next.messages.rest, [])
  client.close()
})

test('a topic is joined with a handler, published to, joined again on the next connection, and left', async () => {
  const [inTopic, others] = [new Queue<Message>(), new Queue<Message>()]
  const pair = await logIn({ onMessage: (message) => others.push(message) })
  const { client, peer } = pair
  const joined = client.join('news', (message) => inTopic.push(message))
  const join = await peer.next(0x85)
  assert.equal(join['topic'], 'news')
  await peer.answerMetadata()
  await joined

  const published = client.publish('news', [1])
  const { id, ...rest } = await peer.next(0x87)
  assert.deepEqual(rest, { topic: 'news', body: [1] })
  peer.say([0x83, { re: id, id: 'srv', state: 'delivered' }])
  assert.equal((await published).state, 'delivered')

  peer.say(message('m1', { topic: 'news' }), message('m2', { topic: 'other' }))
  assert.deepEqual([(await inTopic.next()).id, (await others.next()).id], ['m1', 'm2'])

  const next = await comeBack(pair)
  assert.equal((await next.next(0x85))['topic'], 'news')
  await next.answerMetadata()
  next.say(message('m3', { topic: 'news' }))
  assert.equal((await inTopic.next()).id, 'm3')

  const left = client.leave('news')
  assert.equal((await next.next(0x86))['topic'], 'news')
  await next.answerMetadata()
  await left
  const last = await comeBack({ ...pair, peer: next })
  const asked = client.metadata()
  await last.answerMetadata()
  await asked
  assert.deepEqual(last.messages.rest, [], 'nothing is acked, nothing joined')
  client.close()
})

test('a join is refused by an error, or taken by a receipt or by what is answered after it', async () => {
  const { client, peer } = await logIn()
  const [refused, receipted] = [client.join('a'), client.join('b')]
  const [a, b] = [await peer.next(0x85), await peer.next(0x85)]
  await peer.next(1)
  peer.say([128, { code: 'forbidden', msg: 'no', re: 0x85, id: a['id'], retry: 'no' }])
  await assert.rejects(refused, RefusedError)
  peer.say([0x83, { re: b['id'], state: 'delivered' }])
  await receipted
  peer.say([1, METADATA])
  client.close()
})

test('a message is handled once and acked when its handler is through', async () => {
  const handled = new Queue<{ message: Message; done: () => void; fail: (error: Error) => void }>()
  const errors = new Queue<unknown>()
  const onMessage = (message: Message): Promise<void> =>
    new Promise((done, fail) => handled.push({ message, done, fail }))
  const pair = await logIn({ onMessage, onError: (error) => errors.push(error) })
  const { client, peer, clock } = pair
  peer.say(message('m1'), message('m2'), message('m1'))
  const [first, second] = [await handled.next(), await handled.next()]
  assert.deepEqual(first.message, { id: 'm1', from: ANN, ts: 1, body: { n: 'm1' } })
  second.done()
  first.fail(new Error('mine'))
  assert.match(String(await errors.next()), /mine/)
  clock.advance(100)
  assert.deepEqual(await peer.next(0x84), { ids: ['m2'] })

  const next = await comeBack(pair)
  next.say(message('m2'), message('m1'))
  const again = await handled.next()
  assert.equal(again.message.id, 'm1')
  again.done()
  await new Promise(setImmediate)
  clock.advance(100)
  assert.deepEqual((await next.next(0x84))['ids'].sort(), ['m1', 'm2'])
  assert.deepEqual(handled.rest, [])
  client.close()
})

test('what was handled without a connection is acked on the next one', async () => {
  const handled = new Queue<() => void>()
  const pair = await logIn({ onMessage: () => new Promise<void>((done) => handled.push(done)) })
  pair.peer.say(message('m1'))
  const done = await handled.next()
  pair.peer.socket.close(1001)
  while (pair.client.state !== 'waiting') await new Promise(setImmediate)
  done()
  await new Promise(setImmediate)
  const next = await comeBack(pair)
  assert.deepEqual(await next.next(0x84), { ids: ['m1'] })
  pair.client.close()
})

test('acks go out together, at once when they are many, and before the client closes', async () => {
  const { client, peer } = await logIn({ onMessage: () => {} })
  const ids = Array.from({ length: 40 }, (_, n) => `m${n}`)
  for (const id of ids) peer.say(message(id))
  assert.deepEqual((await peer.next(0x84))['ids'], ids.slice(0, 32))
  const asked = client.metadata()
  await peer.answerMetadata()
  await asked
  client.close()
  assert.deepEqual((await peer.next(0x84))['ids'], ids.slice(32))
})

test('without a handler messages stay with the server', async () => {
  const { client, peer, clock } = await logIn()
  peer.say(message('m1'))
  const asked = client.metadata()
  await peer.answerMetadata()
  await asked
  clock.advance(1_000)
  client.close()
  assert.equal(await peer.closed, 1000)
  assert.deepEqual(peer.messages.rest, [])
})

test('with batching what is asked in one turn goes out in one message', async () => {
  const { client, peer } = await logIn({}, { ...MEMBER, batching: true, maxBatch: 3 })
  peer.sizes.length = 0
  const receipts = Array.from({ length: 7 }, (_, n) => client.send(BOB, n, { id: `b${n}` }))
  for (let n = 0; n < 7; n++) assert.equal((await peer.next(0x81))['body'], n)
  assert.deepEqual(peer.sizes, [3, 3, 1])
  for (const [n] of receipts.entries()) peer.say(stored(`b${n}`, BOB), stored('x'))
  assert.equal((await Promise.all(receipts)).length, 7)
  client.close()
})

test('what the store cannot take now is sent again under its id when the server says', async () => {
  const { client, peer, clock } = await logIn()
  const receipt = client.send(BOB, 'hi', { id: 'a' })
  await peer.next(0x81)
  peer.say([128, { code: 'store_full', msg: 'wait', re: 0x81, id: 'a', retry: 'backoff', retryAfter: 500 }])
  while (!clock.delays.includes(500)) await new Promise(setImmediate)
  clock.advance(500)
  assert.equal((await peer.next(0x81))['id'], 'a')
  peer.say([0x83, { re: 'a', to: BOB, state: 'refused', code: 'store_full' }])
  await assert.rejects(receipt, (error) => error instanceof RefusedError && error.retry === 'backoff' && error.fault === 'server')
  client.close()
})

test('what is over the rate waits as long as the server says, and keeps its order', async () => {
  const { client, peer, clock } = await logIn()
  const receipts: Promise<Receipt>[] = ['a', 'b', 'c'].map((id) => client.send(BOB, id, { id }))
  for (const _ of 'abc') await peer.next(0x81)
  const late = (id: string): [number, object] =>
    [128, { code: 'rate_limited', msg: 'wait', re: 0x81, id, retry: 'backoff', retryAfter: 500 }]
  peer.say(stored('a', BOB), late('b'))
  await receipts[0]
  while (!clock.delays.includes(500)) await new Promise(setImmediate)
  receipts.push(client.send(BOB, 'd', { id: 'd' }))
  peer.say(late('c'), [1, METADATA], stored('x', BOB))
  // Its pong comes behind what was said before.
  peer.socket.ping()
  await once(peer.socket, 'pong')
  await new Promise(setImmediate)
  assert.deepEqual(peer.messages.rest, [])
  for (const id of 'bcd') {
    clock.advance(500)
    assert.equal((await peer.next(0x81))['id'], id)
    peer.say(stored(id, BOB))
  }
  await Promise.all(receipts)
  client.close()
})

test('an error that names nothing refuses what went out with the oldest request', async () => {
  const { client, peer } = await logIn()
  const receipt = client.send(BOB, 1, { id: 'a' })
  await peer.next(0x81)
  peer.say(stored('a', BOB))
  await receipt
  const metadata = client.metadata()
  await peer.next(1)
  peer.say([128, { code: 'bad_json', msg: 'no', re: null, retry: 'no' }])
  await assert.rejects(metadata, (error) => error instanceof RefusedError && error.re === null)
  client.close()
})

test('what the rules do not offer is not sent', async () => {
  for (const rules of [{ ...MEMBER, ext: [] }, { ...MEMBER, perms: ['metadata'] }]) {
    const { client, peer } = await logIn({}, rules)
    assert.ok(!client.offers('send') && !client.offers('join') && !client.offers('publish'))
    await assert.rejects(client.send(BOB, 1), NotOfferedError)
    await assert.rejects(client.publish('t', 1), NotOfferedError)
    await assert.rejects(client.join('t'), NotOfferedError)
    client.close()
    await peer.closed
    assert.deepEqual(peer.messages.rest, [])
  }
})

test('a call that no server would take fails at once', async () => {
  const { client, peer } = await logIn({ maxUnreceipted: 1 }, { ...MEMBER, maxMessage: 1_000 })
  const calls: (() => Promise<unknown>)[] = [
    () => client.send('ann', 1), () => client.send([], 1), () => client.send(BOB, undefined as unknown as Json),
    () => client.send(BOB, 1, { id: '' }), () => client.send(BOB, 1, { id: 'x'.repeat(65) }),
    () => client.send(BOB, '\ud83d'), () => client.send(BOB, 'x'.repeat(1_000)),
    () => client.publish('', 1), () => client.join('é'.repeat(65)), () => client.join('\ud83d'),
    () => client.send(Array.from({ length: 65 }, (_, n) => identityOf((n + 1).toString(16).padStart(64, '0'))), 1),
  ]
  for (const call of calls) await assert.rejects(call(), UsageError, String(call))
  const aborted = new AbortController()
  const waiting = client.send(BOB, 1, { id: 'x', signal: aborted.signal })
  await assert.rejects(client.send(BOB, 2), UsageError, 'too many')
  await peer.next(0x81)
  aborted.abort(new Error('enough'))
  await assert.rejects(waiting, /enough/)
  client.close()
  await peer.closed
  assert.deepEqual(peer.messages.rest, [])
})

test('what waits when the client closes is told so', async () => {
  const { client, peer } = await logIn()
  const waiting = [client.send(BOB, 1), client.join('t'), client.metadata()]
  await peer.next(0x81)
  client.close()
  for (const call of waiting) await assert.rejects(call, ClosedError)
  for (const call of [client.send(BOB, 1), client.join('t'), client.metadata()]) await assert.rejects(call, ClosedError)
})
