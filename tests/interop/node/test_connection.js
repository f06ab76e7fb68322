// A connection that lives on: sealing, heartbeats, pushes, the end.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { utf8ToBytes } from '@noble/hashes/utils.js'
import { encrypt } from 'eciesjs'
import { METADATA, Opener, RULES, sign } from './client.js'
import { SERVERS, challenged, check, closeCode, dial, error, solve } from './harness.js'

check('the key of an epoch is remembered and gives what the stock library gives', async () => {
  const client = await dial('plain') // `dial` compares every message
  await client.logIn()
  for (let i = 0; i < 5; i++) await client.request(METADATA)
  const { points, keys } = client.opener
  assert.equal(points.length, 8)
  assert.ok(new Set(points).size < 8, 'no ephemeral key was used twice')
  assert.ok(keys.size > 0 && keys.size < 3)
})

check('the memory holds the last two epochs', async () => {
  const { secretKey, publicKey } = secp256k1.keygen()
  const opener = new Opener(secretKey)
  const sealed = [1, 2, 3].map(() => new Uint8Array(encrypt(publicKey, utf8ToBytes('{}'))))
  for (const raw of sealed) assert.equal(await opener.open(raw), '{}')
  assert.deepEqual([...opener.keys.keys()], sealed.slice(1).map((raw) => raw.slice(0, 65).join()))
})

check('what was tampered with does not open', async () => {
  const { secretKey, publicKey } = secp256k1.keygen()
  const opener = new Opener(secretKey)
  const sealed = new Uint8Array(encrypt(publicKey, utf8ToBytes('{}')))
  for (const at of [0, 1, 64, 65, 81, 97]) {
    const tampered = sealed.slice()
    tampered[at] ^= 1
    await assert.rejects(opener.open(tampered))
    assert.equal(opener.keys.size, 0)
  }
  await assert.rejects(opener.open(sealed.slice(0, 96)))
  assert.equal(await opener.open(sealed), '{}')
})

check('a client refuses text after a sealed message', async () => {
  const client = await dial('plain')
  await assert.rejects(client.eventsOf('{"t":3,"data":{}}', false))
  await client.eventsOf('{"t":0,"data":{}}', false)
  await client.logIn()
  await assert.rejects(client.eventsOf('{"t":0,"data":{}}', false))
})

check('who answers heartbeats stays', async () => {
  const client = await dial('heartbeat')
  assert.equal(client.rules.hb, 300)
  for (let ping = 0; ping < 3; ping++) await once(client.ws, 'ping')
  assert.ok('name' in await client.request(METADATA))
})

check('who does not answer heartbeats is closed', async () => {
  const client = await dial('heartbeat', { autoPong: false })
  const start = performance.now()
  assert.equal(await closeCode(client), 4008)
  assert.ok(performance.now() - start < 3 * 300 + 500) // slack for a busy machine
})

check('a changed note is pushed to everybody', () => noteIsPushed('reload'))

check('a changed note is pushed in a batch where batching is on', () => noteIsPushed('reload-batching'))

async function noteIsPushed(name) {
  const stranger = await dial(name)
  const member = await dial(name)
  await member.logIn()
  assert.equal((await member.request(METADATA)).note, 'before')
  reload(name, 'note = "before"', 'note = "after"')
  for (const client of [stranger, member]) {
    const { t, data, sealed } = await client.receive()
    assert.deepEqual([t, data.note, sealed], [METADATA, 'after', client === member])
    await nothingMoreIsPushed(client)
  }
}

check('changed rules are pushed and no metadata with them', async () => {
  const stranger = await dial('reload')
  const member = await dial('reload')
  await member.logIn()
  reload('reload', 'heartbeat = 30000', 'heartbeat = 20000')
  for (const client of [stranger, member]) {
    const { perms } = client.rules
    const { t, sealed } = await client.receive()
    assert.deepEqual([t, sealed], [RULES, client === member])
    assert.deepEqual([client.rules.hb, client.rules.perms], [20000, perms])
    await nothingMoreIsPushed(client)
  }
})

check('a login under way goes on when a reload changes how keys are taken', async () => {
  const client = await dial('reload')
  const { challenge } = await challenged(client)
  reload('reload', 'auth = "signature"', 'auth = "key"')
  const { t, data, sealed } = await client.receive()
  assert.deepEqual([t, data.auth, sealed], [RULES, 'key', true])
  const solution = sign(client.secret, client.host, challenge)
  assert.ok((await solve(client, solution, { scheme: 'mida-v1' })).passed)
})

check('a reload that changes nothing for a connection pushes nothing', async () => {
  const client = await dial('reload')
  reload('reload', 'batching = false', 'batching = true') // for connections to come
  for (let later; !later?.batching; await later.close()) later = await dial('reload')
  await nothingMoreIsPushed(client)
  assert.equal(client.rules.batching, false)
})

/** Changes a line of this server's file and lets it read the file again. */
function reload(name, before, after) {
  const { config, pid } = SERVERS[name]
  const text = readFileSync(config, 'utf8')
  assert.ok(text.includes(before))
  writeFileSync(config, text.replace(before, after))
  process.kill(pid, 'SIGHUP')
}

async function nothingMoreIsPushed(client) {
  client.send(77)
  await error(client, 'unknown_event', 77)
}

check('a server that is stopped says it goes away', async () => {
  const stranger = await dial('stopped')
  const member = await dial('stopped')
  await member.logIn()
  process.kill(SERVERS.stopped.pid, 'SIGTERM')
  assert.deepEqual([await closeCode(stranger), await closeCode(member)], [1001, 1001])
})
