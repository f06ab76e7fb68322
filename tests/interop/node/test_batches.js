// Batches, where the first rules say so and where not.

import assert from 'node:assert/strict'
import { AUTH, CHALLENGE, ERROR, METADATA } from './client.js'
import { ANY, check, dial, error } from './harness.js'

check('the first rules are in no batch even with batching', async () => {
  const client = await dial('batching') // `eventsOf` refuses others
  assert.equal(client.rules.batching, true)
})

check('with batching a login works as without', async () => {
  const client = await dial('batching') // wants every message batched but the first rules
  assert.equal(client.batching, true)
  assert.ok('name' in await client.request(METADATA))
  await client.logIn({ method: 'signup' })
  assert.deepEqual(client.rules.perms, ['metadata'])
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
  assert.deepEqual(events.map(({ sealed }) => sealed), [false, false, false, true, true])
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
    '{"count":2,"data":[{"t":1},{"count":1,"data":[{"t":1}]}]}',
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

check('without batching a batch is refused', async () => {
  const client = await dial('plain')
  client.sendBatch([METADATA, {}])
  await error(client, 'batching_disabled', null)
  assert.ok('name' in await client.request(METADATA))
})

check('an event number beside a count is a bad envelope', async () => {
  const client = await dial('batching')
  client.ws.send('{"t":1,"count":1,"data":[{"t":1}]}')
  await error(client, 'bad_envelope', ANY)
})
