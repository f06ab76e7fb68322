// Mistakes of a client: errors, strikes, rates, close codes.

import assert from 'node:assert/strict'
import { CHALLENGE, ERROR, METADATA, RESULT, RULES } from './client.js'
import { check, closeCode, dial, error, has } from './harness.js'

check('an event that no client sends is unknown', async () => {
  const client = await dial('plain')
  for (const t of [RULES, CHALLENGE, RESULT, 6, 127, ERROR, 136, 255]) {
    client.send(t)
    await error(client, 'unknown_event', t)
  }
  assert.ok('name' in await client.request(METADATA))
})

check('what is no json is bad json', async () => {
  const deep = `{"t":1,"data":{"a":${'['.repeat(31)}${']'.repeat(31)}}}`
  for (const text of [
    '',
    '{',
    "{'t':1}",
    '{"t":1}x',
    '{"t":1}{"t":1}',
    '\ufeff{"t":1}',
    '{"t":1,"data":{"a":"\\ud800"}}',
    deep,
  ]) {
    const client = await dial('plain')
    client.ws.send(text)
    await error(client, 'bad_json', null)
    client.ws.send(deep.replace('[]', '')) // one less deep
    assert.equal((await client.receive()).t, METADATA)
  }
})

check('unknown members are ignored', async () => {
  const client = await dial('plain')
  client.ws.send('{"x":[null],"t":1,"data":{"pubKey":7},"id":8}')
  assert.equal((await client.receive()).t, METADATA)
})

check('the tenth strike closes', async () => {
  const client = await dial('plain')
  for (let strike = 1; strike < 10; strike++) {
    client.ws.send('{')
    await error(client, 'bad_json', null)
  }
  client.ws.send('{')
  assert.equal(await closeCode(client), 4000)
})

check('a binary message closes', async () => {
  const client = await dial('plain')
  client.ws.send('{"t":1}', { binary: true })
  assert.equal(await closeCode(client), 1003)
})

check('text that is not utf8 closes', async () => {
  const client = await dial('plain')
  client.ws.send(Buffer.from('{"t":1,"data":{"a":"\xff"}}', 'latin1'), { binary: false })
  assert.equal(await closeCode(client), 1007)
})

check('the largest message is taken and a larger one closes', async () => {
  const client = await dial('plain')
  const largest = '{"t":1}'.padEnd(client.rules.maxMessage)
  client.ws.send(largest.slice(0, 7), { fin: false }) // in fragments
  client.ws.send(largest.slice(7, 20000), { fin: false })
  client.ws.send(largest.slice(20000))
  assert.equal((await client.receive()).t, METADATA)
  client.ws.send(`${largest} `)
  assert.equal(await closeCode(client), 1009)
})

check('who sends too much is told to wait and then closed', async () => {
  const client = await dial('plain')
  for (let i = 0; i < 250; i++) client.send(METADATA)
  let taken = 0
  let event = await client.receive()
  while (event.t === METADATA) {
    taken += 1
    event = await client.receive()
  }
  assert.ok(taken >= 120)
  has(event.data, { code: 'rate_limited', re: METADATA, retry: 'backoff' })
  assert.ok(event.data.retryAfter > 0 && event.data.retryAfter <= 60_000)
  assert.equal(await closeCode(client), 4010)
})

check('what is no message is a bad envelope that names the one event in it', async () => {
  for (const [text, re] of [
    ['{}', null],
    ['[]', null],
    ['7', null],
    ['null', null],
    ['"t"', null],
    ['[{"t":1}]', null],
    ['{"data":{}}', null],
    ['{"t":null}', null],
    ['{"t":"1"}', null],
    ['{"t":1.0}', null],
    ['{"t":1e0}', null],
    ['{"t":-1}', null],
    ['{"t":256}', null],
    ['{"t":1,"t":1}', null],
    ['{"t":1,"t":"1","data":null}', null],
    ['{"t":"1","data":null}', null],
    ['{"t":0,"data":null}', 0],
    ['{"t":1,"data":null}', 1],
    ['{"t":1,"data":[]}', 1],
    ['{"data":7,"t":1}', 1],
    ['{"t":1,"data":{},"data":{}}', 1],
    ['{"t":255,"data":""}', 255],
  ]) {
    const client = await dial('plain')
    client.ws.send(text)
    await error(client, 'bad_envelope', re)
  }
})
