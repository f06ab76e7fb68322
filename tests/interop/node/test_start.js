// The worked examples, connecting, rules and metadata.

import assert from 'node:assert/strict'
import { schnorr } from '@noble/curves/secp256k1.js'
import { hexToBytes } from '@noble/hashes/utils.js'
import { METADATA, Opener, sign } from './client.js'
import { SERVERS, check, dial, has } from './harness.js'

check('the worked signature verifies and so does our own', async () => {
  const secret = hexToBytes('dcd25cfbae2ede5f4dbf2b90e3858f2b7abeb9b26fe99331f2f7c827f7be9692')
  const digest = hexToBytes('c63d5617e95755b512278b7cfd8c086fc8a4252c3e5fcc108bfb48e53f263310')
  const challenge = '53dd5095c60ba8c1d7772fd290b5c9b18fd8d148511cf4442f8d958fa7e5a828'
  const theirs =
    '6c3cfd646139d457f14930b634a3f74376a3733023df6f66c70f0892cc928dd6' +
    '3523ae6a63e57e89efbc75f5c543b56e5e94341fd56d9e3e53413b54d5917d08'
  for (const solution of [theirs, sign(secret, 'chat.example', challenge)]) {
    assert.ok(schnorr.verify(hexToBytes(solution), digest, schnorr.getPublicKey(secret)))
  }
})

check('the worked sealed message opens', async () => {
  const secret = hexToBytes('c0c987e48b6c9b67cb211aaab1dda32081ae03e888f76e0bbb8d754b21f827ac')
  const sealed = hexToBytes(
    '04babef323498969339526126ed734337aaf6cae156789e3a98d67a0c374e1e168' +
    '26e76b25de2089d88a2c500ba558698de0af16b4f652672418927a239c7e8ec0' +
    '362388bbc3851bb86518ba25fcc38f37' +
    '36628719024a5e38ce9465c4f6b014e3' +
    '1a5662b2fb6d5648f2d408b9ba0dab6c543be09988abc79030a644c2')
  assert.equal(await new Opener(secret).open(sealed), '{"t": 7, "data": {"k": "v"}}')
})

check('the host is what a browser makes of the url', async () => {
  for (const [url, host] of Object.entries({
    'ws://LOCALHOST:7700/a?b': 'localhost:7700',
    'wss://Chat.Example:443/x': 'chat.example',
    'wss://chat.example:80': 'chat.example:80',
    'wss://bücher.example/': 'xn--bcher-kva.example',
    'ws://127.1:7700': '127.0.0.1:7700',
    'ws://[0:0:0:0:0:0:0:1]:7700/': '[::1]:7700',
    'wss://chat.example.:8443': 'chat.example.:8443',
  })) assert.equal(new URL(url).host, host)
})

check('the first rules come alone and in the clear', async () => {
  const client = await dial('plain') // `connect` refuses sealed and batched ones
  has(client.rules, {
    v: 1,
    hb: 30000,
    perms: ['metadata', 'auth'],
    batching: false,
    auth: 'signature',
    authWithin: 0,
    maxMessage: 65536,
    maxBatch: 64,
    ext: ['msg'],
  })
  client.send(METADATA)
  assert.equal((await client.receive()).t, METADATA)
})

check('metadata comes in the clear before a login', async () => {
  const client = await dial('plain')
  client.send(METADATA, { ignored: [1, {}] })
  const { t, data, sealed } = await client.receive()
  assert.deepEqual([t, sealed], [METADATA, false])
  assert.equal(typeof data.name, 'string')
  assert.ok(data.online >= 0 && data.uptime >= 0)
  assert.ok(!('maintenanceIn' in data))
})

check('the subprotocol mida is selected where it is offered', async () => {
  for (const [protocols, selected] of [[['mida'], 'mida'], [['other', 'mida'], 'mida'], [[], '']]) {
    assert.equal((await dial('plain', { protocols })).ws.protocol, selected)
  }
  await assert.rejects(dial('plain', { protocols: ['other'] }), /no subprotocol/) // as in a browser
})

check('compression is declined', async () => {
  const client = await dial('plain', { perMessageDeflate: true })
  assert.equal(client.ws.extensions, '')
})

check('a foreign origin is refused and the own one taken', async () => {
  await dial('plain', { origin: `http://${new URL(SERVERS.plain.url).host}` })
  await assert.rejects(dial('plain', { origin: 'https://elsewhere.example' }), /403/)
})
