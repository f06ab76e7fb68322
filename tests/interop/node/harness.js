// What the checks stand on: the servers that run.sh started, and a line for each check.

import assert from 'node:assert/strict'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { decrypt } from 'eciesjs'
import { AUTH, Client, Closed, ERROR, Opener, SOLUTION } from './client.js'

export const SERVERS = JSON.parse(process.env.SERVERS)
const CHECK_MS = 20_000

const checks = []
const opened = new Set()

/** Registers a check; its name is the sentence that holds. */
export function check(name, run) {
  checks.push({ name, run })
}

/** Runs the checks in order; gives how many failed. */
export async function run() {
  let failed = 0
  for (const { name, run } of checks) {
    let timer
    const timeout = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('took too long')), CHECK_MS)
    })
    try {
      await Promise.race([run(), timeout])
      console.log(`node    ok    ${name}`)
    } catch (error) {
      failed += 1
      const where = error.stack.split('\n').find((line) => line.includes('/test_'))?.trim()
      console.log(`node    FAIL  ${name}\n        ${where}\n        ${error.message.replaceAll('\n', ' ')}`)
    }
    clearTimeout(timer)
    for (const client of opened) client.ws.terminate()
    opened.clear()
  }
  console.log(`node: ${checks.length - failed} passed, ${failed} failed`)
  return failed
}

/** Opens by hand and with the stock library, and wants the same. */
class BothWays extends Opener {
  points = []

  async open(raw) {
    const text = await super.open(raw)
    assert.equal(text, new TextDecoder().decode(decrypt(bytesToHex(this.secret), raw)))
    this.points.push(bytesToHex(raw.slice(0, 65)))
    return text
  }
}

/** A client of the server that run.sh started under this name, with a key of its own. */
export async function dial(server, { secret = secp256k1.utils.randomSecretKey(), ...options } = {}) {
  const opener = new BothWays(secret)
  const client = await Client.connect(SERVERS[server].url, secret, { opener, ...options })
  opened.add(client)
  return client
}

/** Sends event 2 and gives the `data` of event 3. */
export function challenged(client) {
  return client.request(AUTH, { pubKey: client.identity })
}

/** Sends event 4 and gives the `data` of event 5. */
export function solve(client, solution, scheme = {}) {
  return client.request(SOLUTION, { solution, ...scheme })
}

/** The signature in scheme `ecdsa` (5.3), in hex; over `message` itself, or its SHA-256. */
export function signEcdsa(secret, message, { prehash = false } = {}) {
  return bytesToHex(secp256k1.sign(message, secret, { prehash, lowS: true, format: 'compact' }))
}

/** Logs in with a signature that names a host the server does not go by. */
export async function failsForItsHost(client) {
  await assert.rejects(client.logIn(), ({ data }) => {
    assert.ok(['wrong_host', 'bad_signature'].includes(data.reason))
    assert.equal(data.attemptsLeft, 2)
    return true
  })
}

/** Reads on until the server closes; gives its code. */
export async function closeCode(client) {
  try {
    for (;;) await client.receive()
  } catch (error) {
    if (error instanceof Closed) return error.code
    throw error
  }
}

/** Expects this error as the next event and gives it. */
export async function error(client, code, re) {
  const event = await client.receive()
  assert.equal(event.t, ERROR, JSON.stringify(event))
  assert.deepEqual([event.data.code, event.data.re], [code, re])
  assert.equal(typeof event.data.msg, 'string')
  assert.ok(['no', 'now', 'backoff'].includes(event.data.retry))
  return event
}

/** Checks the members of `expected` and leaves the others. */
export function has(actual, expected) {
  assert.deepEqual({ ...actual, ...expected }, actual)
}
