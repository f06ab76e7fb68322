// Batches, where the first rules say so and where not.

import assert from 'node:assert/strict'
import { AUTH, CHALLENGE, ERROR, METADATA } from './client.js'
import { check, dial, error } from './harness.js'

check('the first rules are in no batch even with batching', async () => {
  const client = await dial('batching') // `eventsOf` refuses others
  assert.equal(client.rules.batching, true)
})

check('with batching a login works as without', async () => {
  const client = await dial('batching') // wants every message batched but the first rules
  assert.equal(client.batching, true)
  assert.ok('name' in await client.request(METADATA))
  await client.logIn({ method: 'signup' })
  assert.deepEqual(client.rules.perms, ['metadata', 'send', 'topic.join', 'topic.publish'])
  assert.ok('name' in await client.request(METADATA))
  client.send(77)
  await error(client, 'unknown_event', 77)
})

check('a batch is answered in order and its messages stand alone', async () => {
  const client = await dial('batching')
  client.sendBatch(
    [METADATA, {}], [77, {}], [METADATA, null], [AUTH, { pubKey: client.identity }], [METADATA, {}])
  const events = []
  while (events.length < 5) events.push(await client.receive())
  assert.deepEqual(events.map(({ t }) => t), [METADATA, ERROR, ERROR, CHALLENGE, METADATA])
  assert.deepEqual(events.slice(1, 3).map(({ data }) => data.code), ['unknown_event', 'bad_envelope'])
  assert.deepEqual(events.slice(1, 3).map(({ data }) => data.re), [77, METADATA])
  assert.deepEqual(events.map(({ sealed }) => sealed), [false, false, false, true, true])
})

check('an element that is no message gets its error and the others count', async () => {
  const client = await dial('batching')
  for (const element of ['7', 'null', '[]', '{}', '{"t":1,"t":1}', '{"data":{}}']) {
    client.ws.send(`{"count":2,"data":[${element},{"t":1}]}`)
    await error(client, 'bad_envelope', null)
    assert.equal((await client.receive()).t, METADATA)
  }
})

check('a wrong batch is refused whole', async () => {
  for (const batch of [
    '{"count":2,"data":[{"t":1}]}',
    '{"count":1,"data":[{"t":1},{"t":1}]}',
    '{"count":0,"data":[]}',
    '{"count":-1,"data":[{"t":1}]}',
    '{"count":1.0,"data":[{"t":1}]}',
    '{"count":"1","data":[{"t":1}]}',
    '{"count":null,"data":[{"t":1}]}',
    '{"count":1,"data":{"t":1}}',
    '{"count":1}',
    '{"count":1,"count":1,"data":[{"t":1}]}',
    '{"count":1,"data":[{"t":1}],"data":[{"t":1}]}',
    '{"count":2,"data":[{"t":1},{"count":1,"data":[{"t":1}]}]}',
    '{"count":2,"data":[{"t":1},{"t":1,"count":1}]}',
    '{"count":2,"data":[{"t":1},{"count":null}]}',
    JSON.stringify({ count: 65, data: Array(65).fill({ t: 1 }) }),
  ]) {
    const client = await dial('batching')
    client.ws.send(batch)
    await error(client, 'bad_batch', null)
    assert.ok('name' in await client.request(METADATA))
  }
})

check('the largest batch is taken', async () => {
  const client = await dial('batching')
  client.sendBatch(...Array(64).fill([METADATA, {}]))
  for (let i = 0; i < 64; i++) assert.equal((await client.receive()).t, METADATA)
})

check('without batching a batch right or wrong is refused whole', async () => {
  const client = await dial('plain')
  for (const batch of ['{"count":1,"data":[{"t":1}]}', '{"count":2,"data":[{"t":1}]}', '{"count":0}']) {
    client.ws.send(batch)
    await error(client, 'batching_disabled', null)
  }
  assert.ok('name' in await client.request(METADATA))
})

check('a batch refused whole counts as one message', async () => {
  const client = await dial('plain')
  for (let i = 0; i < 100; i++) { // 300 messages would be too many
    client.sendBatch([METADATA, {}], [METADATA, {}], [METADATA, {}])
  }
  for (let i = 0; i < 100; i++) await error(client, 'batching_disabled', null)
  assert.ok('name' in await client.request(METADATA))
})

check('an event number beside a count is a bad envelope with batching or without', async () => {
  for (const server of ['plain', 'batching']) {
    const client = await dial(server)
    for (const text of [
      '{"t":1,"count":1,"data":[{"t":1}]}',
      '{"t":1,"count":7,"data":{}}',
      '{"t":null,"count":null}',
      '{"count":1,"t":1,"t":1}',
    ]) {
      client.ws.send(text)
      await error(client, 'bad_envelope', null)
    }
    assert.ok('name' in await client.request(METADATA))
  }
})
