// Logging in: signup, challenge, solution, result; and what goes wrong on the way.

import assert from 'node:assert/strict'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js'
import { AUTH, CHALLENGE, METADATA, RESULT, RULES, SOLUTION, sign } from './client.js'
import {
  SERVERS, challenged, check, closeCode, dial, error, failsForItsHost, has, signEcdsa, solve,
} from './harness.js'

const ZEROS = '00'.repeat(64)
const BOUND = { scheme: 'mida-v1' }

check('a signup is challenged solved and followed by new rules all sealed', async () => {
  const client = await dial('plain')
  const user = { displayName: 'Ada', bio: 'Counts.' }
  client.send(AUTH, { method: 'signup', user, pubKey: client.identity })
  const challenge = await client.receive()
  assert.deepEqual([challenge.t, challenge.sealed], [CHALLENGE, true])
  assert.match(challenge.data.challenge, /^[0-9a-f]{64}$/)
  has(challenge.data, { schemes: ['mida-v1', 'ecdsa'], expiresIn: 60000 })

  client.send(SOLUTION, { ...BOUND, solution: sign(client.secret, client.host, challenge.data.challenge) })
  const result = await client.receive()
  assert.deepEqual([result.t, result.sealed], [RESULT, true])
  has(result.data, { passed: true, user: { displayName: 'Ada', unreadMessages: 0 } })

  const rules = await client.receive()
  assert.deepEqual([rules.t, rules.sealed, rules.data.perms], [RULES, true, ['metadata', 'send', 'topic.join', 'topic.publish']])

  client.send(METADATA)
  const metadata = await client.receive()
  assert.deepEqual([metadata.t, metadata.sealed], [METADATA, true])
})

check('a key that signed up logs in again', async () => {
  const secret = secp256k1.utils.randomSecretKey()
  for (const wishes of [{ method: 'signup' }, { method: 'login' }, {}]) {
    const client = await dial('plain', { secret })
    assert.ok('displayName' in await client.logIn(wishes))
  }
})

check('plain ecdsa passes over the challenge and over its hash', async () => {
  for (const prehash of [false, true]) {
    for (const scheme of [{}, { scheme: 'ecdsa' }]) {
      const client = await dial('plain')
      const challenge = hexToBytes((await challenged(client)).challenge)
      const result = await solve(client, signEcdsa(client.secret, challenge, { prehash }), scheme)
      assert.ok(result.passed)
      assert.equal((await client.receive()).t, RULES)
    }
  }
})

check('ecdsa with a high s or over the hex does not pass', async () => {
  const client = await dial('plain')
  const { challenge } = await challenged(client)
  const low = signEcdsa(client.secret, hexToBytes(challenge))
  const highS = secp256k1.Point.Fn.ORDER - BigInt(`0x${low.slice(64)}`)
  const high = low.slice(0, 64) + highS.toString(16).padStart(64, '0')
  const overHex = signEcdsa(client.secret, sha256(utf8ToBytes(challenge)))
  for (const solution of [high, overHex]) {
    has(await solve(client, solution), { passed: false, reason: 'bad_signature' })
  }
  assert.ok((await solve(client, low)).passed)
})

check('an uncompressed or uppercase key is the same identity', async () => {
  for (const compressed of [false, true]) {
    const client = await dial('plain')
    const pubKey = bytesToHex(secp256k1.getPublicKey(client.secret, compressed)).toUpperCase()
    const { challenge } = await client.request(AUTH, { pubKey })
    const solution = sign(client.secret, client.host, challenge) // signs the compressed one
    assert.ok((await solve(client, solution.toUpperCase(), BOUND)).passed)
  }
})

check('three failures count down and close', async () => {
  const client = await dial('plain')
  await challenged(client)
  for (const attemptsLeft of [2, 1, 0]) {
    client.send(SOLUTION, { ...BOUND, solution: ZEROS })
    const { t, data, sealed } = await client.receive()
    assert.deepEqual([t, sealed], [RESULT, true])
    has(data, { passed: false, reason: 'bad_signature', attemptsLeft })
  }
  assert.equal(await closeCode(client), 4003)
})

check('a second auth is out of order', async () => {
  const client = await dial('plain')
  const { challenge } = await challenged(client)
  client.send(AUTH, { pubKey: client.identity })
  assert.ok((await error(client, 'auth_order', AUTH)).sealed)
  assert.ok((await solve(client, sign(client.secret, client.host, challenge), BOUND)).passed)
  assert.equal((await client.receive()).t, RULES)
  client.send(AUTH, { pubKey: client.identity })
  await error(client, 'auth_order', AUTH)
})

check('a solution without a challenge is out of order', async () => {
  const client = await dial('plain')
  client.send(SOLUTION, { solution: ZEROS })
  assert.ok(!(await error(client, 'auth_order', SOLUTION)).sealed)
  await client.logIn()
  client.send(SOLUTION, { solution: ZEROS })
  assert.ok((await error(client, 'auth_order', SOLUTION)).sealed)
})

check('a bad key seals nothing and may be corrected', async () => {
  const client = await dial('plain')
  const x = client.identity.slice(2)
  for (const pubKey of ['no hex', '', x, `02${x}00`, `06${x}${x}`, '00', `02${'ff'.repeat(32)}`]) {
    client.send(AUTH, { pubKey })
    assert.ok(!(await error(client, 'bad_key', AUTH)).sealed)
  }
  await client.logIn()
})

check('bad data seals nothing and may be corrected', async () => {
  const client = await dial('plain')
  const pubKey = client.identity
  for (const data of [
    {},
    { pubKey: 7 },
    { pubKey, method: 'guess' },
    { pubKey, method: null },
    { pubKey: null },
    { pubKey, user: null },
    { pubKey, user: [] },
    { pubKey, user: { displayName: 7 } },
    { pubKey, user: { displayName: null } },
    { pubKey, user: { bio: null } },
    { pubKey, user: { displayName: 'x'.repeat(65) } },
    { pubKey, user: { bio: 'x'.repeat(1025) } },
  ]) {
    client.send(AUTH, data)
    assert.ok(!(await error(client, 'bad_data', AUTH)).sealed)
  }
  client.ws.send(`{"t":2,"data":{"pubKey":"${pubKey}","pubKey":"${pubKey}"}}`)
  await error(client, 'bad_data', AUTH)
  const user = { displayName: '😀'.repeat(64), bio: 'ß'.repeat(1024), unknown: null }
  assert.equal((await client.logIn({ user })).displayName, user.displayName)
})

check('requests behind a login wait for it', async () => {
  const client = await dial('plain')
  const receive = async (n) => {
    const events = []
    while (events.length < n) events.push(await client.receive())
    return events
  }
  client.send(METADATA)
  client.send(AUTH, { pubKey: client.identity })
  client.send(METADATA)
  const events = await receive(3)
  assert.deepEqual(events.map(({ t }) => t), [METADATA, CHALLENGE, METADATA])
  assert.deepEqual(events.map(({ sealed }) => sealed), [false, true, true])

  const solution = sign(client.secret, client.host, events[1].data.challenge)
  client.send(SOLUTION, { ...BOUND, solution })
  client.send(METADATA)
  assert.deepEqual((await receive(3)).map(({ t }) => t), [RESULT, RULES, METADATA])
})

check('the own hosts of the server log in and no other', async () => {
  const { port } = new URL(SERVERS.plain.url)
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`]) {
    const client = await dial('plain')
    client.host = host
    await client.logIn()
  }
  for (const host of ['elsewhere.example', 'localhost']) {
    const client = await dial('plain')
    client.host = host
    await failsForItsHost(client)
  }
})

check('whatever is wrong with a solution a result says so and the challenge stays', async () => {
  const some = `"solution":"${ZEROS}"`
  for (const [data, reason] of [
    ['"solution":"no hex","scheme":"mida-v1"', 'bad_signature'],
    [`"solution":"${'00'.repeat(63)}","scheme":"mida-v1"`, 'bad_signature'],
    ['', 'bad_signature'],
    ['"scheme":"mida-v1"', 'bad_signature'],
    ['"solution":7', 'bad_signature'],
    ['"solution":null', 'bad_signature'],
    [`${some},"scheme":7`, 'bad_signature'],
    [`${some},"scheme":null`, 'bad_signature'],
    [`${some},${some}`, 'bad_signature'],
    [`${some},"scheme":"ecdsa","scheme":"ecdsa"`, 'bad_signature'],
    ['"scheme":"mida-v9"', 'bad_signature'],
    [`${some},"scheme":"mida-v9"`, 'bad_scheme'],
    [`${some},"scheme":""`, 'bad_scheme'],
  ]) {
    const client = await dial('plain')
    const { challenge } = await challenged(client)
    client.ws.send(`{"t":4,"data":{${data}}}`)
    const event = await client.receive()
    assert.equal(event.t, RESULT, data)
    assert.deepEqual(event.data, { passed: false, reason, attemptsLeft: 2 }, data)
    assert.ok((await solve(client, sign(client.secret, client.host, challenge), BOUND)).passed)
  }
})

check('malformed solutions use up the attempts', async () => {
  const client = await dial('plain')
  await challenged(client)
  for (const attemptsLeft of [2, 1, 0]) {
    client.send(SOLUTION, BOUND)
    has((await client.receive()).data, { attemptsLeft })
  }
  assert.equal(await closeCode(client), 4003)
})

check('a bad envelope is no solution and costs no attempt', async () => {
  const client = await dial('plain')
  await challenged(client)
  for (const text of ['{"t":4,"data":null}', '{"t":4,"data":[]}', '{"t":4,"data":{},"data":{}}']) {
    client.ws.send(text)
    assert.ok((await error(client, 'bad_envelope', SOLUTION)).sealed)
  }
  has(await solve(client, ZEROS), { attemptsLeft: 2 })
  for (let strike = 4; strike < 10; strike++) {
    client.ws.send('{"t":4,"data":null}')
    await error(client, 'bad_envelope', SOLUTION)
  }
  client.ws.send('{"t":4,"data":null}')
  assert.equal(await closeCode(client), 4000)
})

check('what is out of order is so whatever its data', async () => {
  const auths = [{}, { pubKey: 7 }, { pubKey: 'no hex' }, { pubKey: null, user: null }, { method: 'x' }]
  const solutions = [{}, { solution: 7 }, { solution: 'no hex' }, { solution: null }, { scheme: 'x' }]
  const allOutOfOrder = async (client, t, allData) => {
    for (const data of allData) {
      client.send(t, data)
      await error(client, 'auth_order', t)
    }
  }
  const client = await dial('plain')
  await allOutOfOrder(client, SOLUTION, solutions)
  const { challenge } = await challenged(client)
  await allOutOfOrder(client, AUTH, auths)
  assert.ok((await solve(client, sign(client.secret, client.host, challenge), BOUND)).passed)
  assert.equal((await client.receive()).t, RULES)
  await allOutOfOrder(client, AUTH, auths)
  await allOutOfOrder(client, SOLUTION, solutions)
})
