// How a client lives on and when it gives up, against the fake server.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Client, ClosedError, generateSecret, type Options } from '@mida/client'
import { Clock } from './clock.js'
import { ANONYMOUS, Fake, MEMBER, METADATA, type Peer } from './fake.js'

const SECRET = generateSecret()
let fake: Fake
before(async () => (fake = await Fake.start()))
after(() => fake.stop())

async function logIn(clock: Clock, options: Options = {}, rules: object = MEMBER): Promise<[Client, Peer]> {
  const client = new Client(fake.url, { secret: SECRET, environment: clock.environment, ...options })
  const peer = await fake.peer()
  await peer.login(rules)
  await client.opened()
  return [client, peer]
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(setImmediate)
}

test('delays grow until a login succeeds, and the reason of each is told', async () => {
  const clock = new Clock()
  const reasons: unknown[] = []
  const onState: Options['onState'] = (state, reason) => void (state === 'waiting' && reasons.push(reason))
  const client = new Client(fake.url, { secret: SECRET, environment: clock.environment, onState })
  for (const delay of [1_000, 2_000, 4_000]) {
    const peer = await fake.peer()
    peer.greet()
    peer.socket.close(1001, 'server is going away')
    await until(() => client.state === 'waiting')
    assert.deepEqual(clock.delays, [delay])
    clock.advance(delay)
  }
  const peer = await fake.peer()
  await peer.login()
  await client.opened()
  peer.socket.close(4008)
  await until(() => client.state === 'waiting')
  assert.deepEqual(clock.delays, [1_000])
  assert.deepEqual(reasons.map((reason) => reason instanceof ClosedError && reason.code), [1001, 1001, 1001, 4008])
  client.close()
  assert.deepEqual(clock.delays, [])
})

test('a code that would come again is the end', async () => {
  for (const code of [1002, 1003, 1007, 1008, 1009, 4000, 4003]) {
    const clock = new Clock()
    const [client, peer] = await logIn(clock)
    peer.socket.close(code)
    await until(() => client.state === 'closed')
    await assert.rejects(client.opened(), (error) => error instanceof ClosedError && error.code === code && error.fault === 'caller')
    assert.deepEqual(clock.delays, [])
  }
})

test('one that has no key is not helped by trying where a login is required', async () => {
  const client = new Client(fake.url)
  const peer = await fake.peer()
  peer.greet({ ...ANONYMOUS, authWithin: 100 })
  await client.opened()
  peer.socket.close(4004)
  await until(() => client.state === 'closed')
})

test('who signed up logs in on the next connection', async () => {
  const clock = new Clock()
  const client = new Client(fake.url, { secret: SECRET, method: 'signup', environment: clock.environment })
  const peer = await fake.peer()
  assert.equal((await peer.login())['method'], 'signup')
  await client.opened()
  peer.socket.terminate()
  await until(() => client.state === 'waiting')
  clock.advance(1_000)
  const next = await fake.peer()
  assert.equal((await next.login())['method'], 'login')
  await client.opened()
  client.close()
})

test('after three heartbeats of silence the client asks, and after three more it comes back', async () => {
  const clock = new Clock()
  const [client, peer] = await logIn(clock, {}, { ...MEMBER, hb: 500 })
  clock.advance(1_499)
  const asked = client.metadata()
  await peer.answerMetadata()
  await asked
  clock.advance(1_499)
  assert.deepEqual(peer.messages.rest, [])
  clock.advance(1)
  await peer.next(1)
  peer.say([1, METADATA])
  const again = client.metadata()
  await peer.answerMetadata()
  await again
  clock.advance(1_500)
  await peer.next(1)
  clock.advance(1_499)
  assert.equal(client.state, 'open')
  clock.advance(1)
  assert.equal(client.state, 'waiting')
  client.close()
})

test('newer rules are told, and what fails in a handler is not the end', async () => {
  const clock = new Clock()
  const errors: unknown[] = []
  let rules = 0
  const [client, peer] = await logIn(clock, {
    onRules: () => void (rules += 1),
    onMetadata: () => { throw new Error('mine') },
    onError: (error) => errors.push(error),
  })
  peer.say([0, { ...MEMBER, perms: ['metadata'] }], [99, { later: true }])
  const asked = client.metadata()
  await peer.answerMetadata()
  assert.equal((await asked).name, 'fake')
  assert.deepEqual([rules, errors.length, client.rules?.perms], [2, 1, ['metadata']])
  client.close()
})
