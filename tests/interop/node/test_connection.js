// A connection that lives on: sealing, heartbeats, pushes, the end.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { utf8ToBytes } from '@noble/hashes/utils.js'
import { encrypt } from 'eciesjs'
import { METADATA, Opener, RULES } from './client.js'
import { SERVERS, check, closeCode, dial } from './harness.js'

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
  const { config, pid } = SERVERS[name]
  const stranger = await dial(name)
  const member = await dial(name)
  await member.logIn()
  assert.equal((await member.request(METADATA)).note, 'before')
  writeFileSync(config, readFileSync(config, 'utf8').replace('before', 'after'))
  process.kill(pid, 'SIGHUP')
  for (const client of [stranger, member]) {
    const { t, data, sealed } = await client.receive()
    assert.deepEqual([t, data.note, sealed], [METADATA, 'after', client === member])
  }
}

check('changed rules are sent again', async () => {
  const { config, pid } = SERVERS.reload
  const stranger = await dial('reload')
  const member = await dial('reload')
  await member.logIn()
  appendFileSync(config, 'heartbeat = 20000\n')
  process.kill(pid, 'SIGHUP')
  for (const client of [stranger, member]) {
    const { perms } = client.rules
    let event = await client.receive()
    while (event.t !== RULES) event = await client.receive()
    assert.equal(event.sealed, client === member)
    assert.deepEqual([client.rules.hb, client.rules.perms], [20000, perms])
  }
})

check('a server that is stopped says it goes away', async () => {
  const stranger = await dial('stopped')
  const member = await dial('stopped')
  await member.logIn()
  process.kill(SERVERS.stopped.pid, 'SIGTERM')
  assert.deepEqual([await closeCode(stranger), await closeCode(member)], [1001, 1001])
})
