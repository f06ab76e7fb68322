// What an operator can set: how a login is taken, and in what time.

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { hexToBytes } from '@noble/hashes/utils.js'
import { AUTH, Closed, METADATA, Opener, RESULT, RULES, Refused, SOLUTION, sign } from './client.js'
import {
  challenged, check, closeCode, dial, error, failsForItsHost, has, signEcdsa, solve,
} from './harness.js'

const ZEROS = '00'.repeat(64)
const BOUND = { scheme: 'mida-v1' }

check('a server that is bound only takes no ecdsa', async () => {
  const client = await dial('bound')
  const { challenge, schemes } = await challenged(client)
  assert.deepEqual(schemes, ['mida-v1'])
  const solution = signEcdsa(client.secret, hexToBytes(challenge))
  for (const [attemptsLeft, scheme] of [[2, {}], [1, { scheme: 'ecdsa' }]]) {
    has(await solve(client, solution, scheme), { passed: false, reason: 'bad_scheme', attemptsLeft })
  }
  assert.ok((await solve(client, sign(client.secret, client.host, challenge), BOUND)).passed)
})

check('with auth key the result comes at once', async () => {
  const client = await dial('key')
  has(client.rules, { auth: 'key', perms: ['metadata', 'auth'] })
  client.send(AUTH, { pubKey: client.identity, user: { displayName: 'Ada' } })
  const result = await client.receive()
  const rules = await client.receive()
  assert.deepEqual([result.t, result.sealed], [RESULT, true])
  has(result.data, { passed: true, user: { displayName: 'Ada', unreadMessages: 0 } })
  assert.deepEqual([rules.t, rules.sealed, rules.data.perms], [RULES, true, ['metadata']])
  for (const data of [{ solution: ZEROS }, {}]) {
    client.send(SOLUTION, data)
    await error(client, 'auth_order', SOLUTION)
  }
  for (const data of [{ pubKey: client.identity }, {}]) {
    client.send(AUTH, data)
    await error(client, 'auth_order', AUTH)
  }
})

check('a proven key is online and one that is not proven is not', async () => {
  for (const [server, online] of [['public', 1], ['key', 0]]) {
    const client = await dial(server)
    client.host = 'chat.example'
    await client.logIn()
    await sleep(1000) // `online` may be that old
    has(await client.request(METADATA), { online })
  }
})

check('who does not log in in time is closed and who does stays', async () => {
  for (const server of ['required', 'key-required']) {
    const member = await dial(server)
    const stranger = await dial(server)
    assert.equal(member.rules.authWithin, 2000)
    await member.logIn()
    assert.equal(await closeCode(stranger), 4004)
    assert.ok('name' in await member.request(METADATA))
  }
})

check('what has no limit shows the largest number', async () => {
  const client = await dial('unlimited')
  has(client.rules, { maxMessage: 2 ** 32 - 1, maxBatch: 2 ** 32 - 1 })
  assert.equal((await challenged(client)).expiresIn, Number.MAX_SAFE_INTEGER)
  for (const attemptsLeft of [2 ** 32 - 2, 2 ** 32 - 3]) has(await solve(client, ZEROS), { attemptsLeft })
})

check('a challenge expires and the connection stays sealed', async () => {
  const client = await dial('expiring')
  const { challenge, expiresIn } = await challenged(client)
  assert.equal(expiresIn, 400)
  assert.deepEqual(await client.receive(), {
    t: RESULT,
    data: { passed: false, reason: 'expired', attemptsLeft: 0 },
    sealed: true,
  })
  client.send(SOLUTION, { ...BOUND, solution: sign(client.secret, client.host, challenge) })
  assert.ok((await error(client, 'auth_order', SOLUTION)).sealed)
  client.send(AUTH, { pubKey: client.identity })
  await error(client, 'auth_order', AUTH)
  client.send(METADATA)
  assert.ok((await client.receive()).sealed)
})

check('where a login is required an expired challenge closes', async () => {
  const client = await dial('expiring-required')
  await challenged(client)
  assert.equal((await client.receive()).data.reason, 'expired')
  assert.equal(await closeCode(client), 4004)
})

check('a server with a public host takes that one only', async () => {
  await failsForItsHost(await dial('public'))
  const client = await dial('public')
  client.host = 'chat.example'
  await client.logIn()
})

check('an announced maintenance is in the metadata', async () => {
  const client = await dial('maintenance')
  const { maintenanceIn } = await client.request(METADATA)
  assert.ok(maintenanceIn > 0 && maintenanceIn <= 3_600_000)
})

check('a login over the rate seals nothing and may be repeated', async () => {
  let client
  let data
  while (!data) {
    client = await dial('crowded')
    try {
      await challenged(client)
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused
      data = refused.data
    }
  }
  has(data, { code: 'rate_limited', re: AUTH, retry: 'backoff' })
  assert.ok(!client.sealed)
  await sleep(data.retryAfter) // what the server asks for
  await client.logIn()
})

check('a late solution passes or is out of order after the expiry', () =>
  lateSolutionsEnd('expiring', `true,${RULES},unknown_event`, 'false,auth_order,unknown_event'))

check('where a login is required a late solution passes or finds the connection closed', () =>
  lateSolutionsEnd('expiring-required', `true,${RULES},unknown_event`, 'false,4004'))

/** Solves challenges around their expiry and expects one of these lists of answers each time. */
async function lateSolutionsEnd(server, ...expected) {
  const solveLate = async (client, { challenge, expiresIn }, delayMs) => {
    const expiry = performance.now() + expiresIn
    const solution = sign(client.secret, client.host, challenge)
    await sleep(expiry + delayMs - performance.now())
    const answers = []
    try {
      client.send(SOLUTION, { ...BOUND, solution })
      client.send(77) // its answer comes last
      while (answers.at(-1) !== 'unknown_event') {
        const { t, data } = await client.receive()
        answers.push(data.passed ?? data.code ?? t)
      }
    } catch (error) {
      if (!(error instanceof Closed)) throw error
      answers.push(error.code)
    }
    return answers.join()
  }
  const outcomes = []
  for (let delayMs = -15; delayMs < 15; delayMs++) {
    const secret = secp256k1.utils.randomSecretKey()
    const opener = new Opener(secret) // the stock library would take longer than a millisecond
    const client = await dial(server, { secret, opener })
    outcomes.push(solveLate(client, await challenged(client), delayMs).catch(String))
  }
  for (const answers of await Promise.all(outcomes)) assert.ok(expected.includes(answers), answers)
}
