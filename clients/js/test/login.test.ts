// The login, and what ends it, against the fake server.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import {
  AttackError, Client, ClosedError, connect, generateSecret, identityOf, LoginError, ProtocolError, RefusedError,
  UsageError, type MidaError, type Options,
} from '@mida/client'
import { Clock } from './clock.js'
import { ANONYMOUS, CHALLENGE, Fake, MEMBER, type Peer } from './fake.js'

const SECRET = generateSecret()
let fake: Fake
before(async () => (fake = await Fake.start()))
after(() => fake.stop())

const QUESTION = { challenge: CHALLENGE, schemes: ['mida-v1'], expiresIn: 60_000 }

/** Runs one login; gives how the client ended for good. */
async function failed(play: (peer: Peer) => unknown, options: Options = {}): Promise<MidaError> {
  const client = new Client(fake.url, { secret: SECRET, reconnect: false, ...options })
  const [outcome] = await Promise.allSettled([client.opened(), fake.peer().then(play)])
  assert.equal(outcome.status, 'rejected')
  assert.equal(client.state, 'closed')
  return outcome.reason
}

test('a login signs for the host that was dialled and ends with the rules of a member', async () => {
  const states: string[] = []
  const options: Options = { secret: SECRET, user: { displayName: 'Ada' }, onState: (state) => states.push(state) }
  const [client, auth] = await Promise.all([connect(fake.url, options), fake.peer().then((peer) => peer.login())])
  assert.deepEqual(auth, { pubKey: identityOf(SECRET), user: { displayName: 'Ada' } })
  assert.deepEqual(client.rules?.perms, MEMBER.perms)
  assert.deepEqual(client.user, { displayName: '', unreadMessages: 0 })
  assert.ok(client.offers('send') && client.offers('join') && client.offers('publish'))
  client.close()
  assert.deepEqual(states, ['connecting', 'open', 'closed'])
  await assert.rejects(client.opened(), ClosedError)
  await assert.rejects(client.metadata(), ClosedError)
})

test('a server that asks for no proof is gone along with', async () => {
  const [client] = await Promise.all([connect(fake.url, { secret: SECRET }), fake.peer().then(async (peer) => {
    peer.greet()
    await peer.takeAuth()
    peer.say([5, { passed: true, user: { displayName: 'Ada', unreadMessages: 3 } }])
    peer.say([0, ANONYMOUS])
  })])
  assert.equal(client.user?.unreadMessages, 3)
  client.close()
})

test('nothing is signed that was not asked for, can be relayed, or is no challenge', async () => {
  for (const [question, kind] of [
    [{ ...QUESTION, schemes: ['ecdsa'] }, LoginError],
    [{ ...QUESTION, schemes: 'mida-v1' }, ProtocolError],
    [{ ...QUESTION, challenge: CHALLENGE.slice(1) }, ProtocolError],
    [{ ...QUESTION, challenge: `${CHALLENGE}\n` }, ProtocolError],
    [{ ...QUESTION, challenge: `x${CHALLENGE.slice(1)}` }, ProtocolError],
    [{ ...QUESTION, expiresIn: undefined }, ProtocolError],
  ] as const) {
    let peer: Peer | undefined
    const error = await failed(async (its) => {
      peer = its
      peer.greet()
      await peer.takeAuth()
      peer.say([3, question])
      await peer.closed
    })
    assert.ok(error instanceof kind, `${JSON.stringify(question)}: ${error}`)
    assert.deepEqual(peer?.messages.rest, [])
  }
  const twice = await failed(async (peer) => {
    peer.greet()
    await peer.takeAuth()
    peer.say([3, QUESTION])
    await peer.next(4)
    peer.say([3, QUESTION])
    await peer.closed
    assert.deepEqual(peer.messages.rest, [])
  })
  assert.ok(twice instanceof AttackError)
})

test('a login that is over in the clear is an attack', async () => {
  for (const event of [[3, QUESTION], [5, { passed: true, user: { unreadMessages: 0 } }]] as [number, object][]) {
    const error = await failed(async (peer) => {
      peer.greet()
      await peer.next(2)
      peer.say(event)
    })
    assert.ok(error instanceof AttackError && error.fault === 'attacker')
  }
})

test('text after the login is an attack, and is not followed by another try', async () => {
  const client = new Client(fake.url, { secret: SECRET })
  const peer = await fake.peer()
  await peer.login()
  await client.opened()
  peer.sealer = undefined
  peer.say([1, { name: 'evil', online: 1, uptime: 1 }])
  await peer.closed
  assert.equal(client.state, 'closed')
  await assert.rejects(client.opened(), AttackError)
})

test('a result that nobody asked for is an attack', async () => {
  const client = new Client(fake.url, { secret: SECRET })
  const peer = await fake.peer()
  await peer.login()
  await client.opened()
  peer.say([5, { passed: true, user: { unreadMessages: 0 } }])
  await peer.closed
  await assert.rejects(client.opened(), AttackError)
})

test('a message before the login is not believed', async () => {
  const got: unknown[] = []
  const client = new Client(fake.url, { secret: SECRET, onMessage: (message) => got.push(message) })
  const peer = await fake.peer()
  peer.greet()
  peer.say([0x82, { id: 'm', ts: 1, body: 'in the clear' }])
  await peer.takeAuth()
  peer.say([0x82, { id: 'm', ts: 1, body: 'sealed' }], [5, { passed: true, user: { unreadMessages: 0 } }], [0, MEMBER])
  await client.opened()
  assert.deepEqual(got, [])
  client.close()
})

test('a refused login says why, and only one that expired is tried again', async () => {
  for (const reason of ['bad_signature', 'wrong_host', 'bad_scheme', 'blocked', 'account_exists', 'no_account', 'new']) {
    const error = await failed(async (peer) => {
      peer.greet()
      await peer.takeAuth()
      peer.say([3, QUESTION])
      await peer.next(4)
      peer.say([5, { passed: false, reason, attemptsLeft: 2 }])
    }, { reconnect: true })
    assert.ok(error instanceof LoginError && error.reason === reason && error.fault === 'caller')
  }
  const clock = new Clock()
  const client = new Client(fake.url, { secret: SECRET, environment: clock.environment })
  const peer = await fake.peer()
  peer.greet()
  await peer.takeAuth()
  peer.say([5, { passed: false, reason: 'expired', attemptsLeft: 0 }])
  await peer.closed
  assert.equal(client.state, 'waiting')
  client.close()
})

test('a refused event 2 ends the login, but for one over its rate', async () => {
  const bad = await failed(async (peer) => {
    peer.greet()
    await peer.next(2)
    peer.say([128, { code: 'forbidden', msg: 'no', re: 2, retry: 'no' }])
  })
  assert.ok(bad instanceof RefusedError && bad.code === 'forbidden' && bad.re === 2)

  const clock = new Clock()
  const client = new Client(fake.url, { secret: SECRET, environment: clock.environment })
  const peer = await fake.peer()
  peer.greet()
  const first = await peer.next(2)
  peer.say([128, { code: 'rate_limited', msg: 'wait', re: 2, retry: 'backoff', retryAfter: 777 }], [1, { name: 'x', online: 0, uptime: 0 }])
  while (!clock.delays.includes(777)) await new Promise(setImmediate)
  clock.advance(777)
  assert.deepEqual(await peer.takeAuth(), first)
  peer.say([5, { passed: true, user: { unreadMessages: 0 } }], [0, MEMBER])
  await client.opened()
  client.close()
})

test('a server that is none or says nothing is left', async () => {
  const wrong = await failed((peer) => peer.say([1, {}]), { reconnect: true })
  assert.ok(wrong instanceof ProtocolError && wrong.fault === 'server')
  for (const [greets, ms] of [[false, 10_000], [true, 40_000]] as const) {
    const clock = new Clock()
    const error = await failed(async (peer) => {
      if (greets) {
        peer.greet()
        await peer.next(2)
      }
      clock.advance(ms)
    }, { environment: clock.environment })
    assert.ok(error instanceof ClosedError && error.code === 1006 && error.fault === 'network', String(error))
  }
})

test('what cannot be dialled is the fault of the caller', async () => {
  for (const url of ['', 'localhost:7700', 'http://localhost', 'ws://', 'wss://a/#b', 'ws://a b']) {
    assert.throws(() => new Client(url), UsageError, url)
  }
  assert.throws(() => new Client('ws://localhost', { secret: 'mine' }), UsageError)
  const environment = { WebSocket: class { constructor() { throw new Error('not from here') } } as never }
  await assert.rejects(connect('ws://localhost', { environment }), (error) => error instanceof UsageError && /not from here/.test(error.message))
  await assert.rejects(connect('ws://localhost', { signal: AbortSignal.abort() }), ClosedError)
})

test('an anonymous client asks for metadata and takes nothing sealed', async () => {
  const [client, peer] = await Promise.all([connect(fake.url, { reconnect: false }), fake.peer().then((peer) => (peer.greet(), peer))])
  assert.equal(client.identity, undefined)
  const [metadata] = await Promise.all([client.metadata(), peer.answerMetadata()])
  assert.equal(metadata.name, 'fake')
  peer.socket.send(Buffer.alloc(200, 4))
  await peer.closed
  await assert.rejects(client.opened(), ProtocolError)
})
