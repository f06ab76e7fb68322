import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AttackError, generateSecret, identityOf, Opener, ProtocolError } from '@mida/client'
import { Inbound } from '../dist/inbound.js'
import { ANONYMOUS } from './fake.js'
import { Sealer } from './seal.js'

const SECRET = generateSecret()
const SEALER = new Sealer(identityOf(SECRET))

function greeted(rules: object = ANONYMOUS): Inbound {
  const inbound = new Inbound(new Opener(SECRET))
  assert.equal(inbound.events(JSON.stringify({ t: 0, data: rules })).length, 1)
  return inbound
}

function sealed(text: string | Uint8Array): ArrayBuffer {
  return Uint8Array.from(SEALER.seal(text)).buffer
}

test('the first message is the rules of version 1, alone and in the clear', () => {
  const rules = (change: object): string => JSON.stringify({ t: 0, data: { ...ANONYMOUS, ...change } })
  for (const bad of [
    '', 'hello', '[]', 'null', '7', '{}', '{"t":1,"data":{}}', '{"t":0}', '{"t":0,"data":null}',
    `{"count":1,"data":[${rules({})}]}`, `\ufeff${rules({})}`,
    rules({ v: 2 }), rules({ v: '1' }), rules({ hb: 0 }), rules({ hb: 99 }), rules({ hb: 3_600_001 }), rules({ hb: '500' }),
    rules({ perms: 'metadata' }), rules({ perms: [1] }), rules({ batching: 1 }), rules({ auth: null }),
    rules({ authWithin: -1 }), rules({ maxMessage: 0 }), rules({ maxBatch: 1.5 }), rules({ ext: undefined }),
    sealed(rules({})),
  ]) {
    assert.throws(() => new Inbound(new Opener(SECRET)).events(bad), ProtocolError, String(bad))
  }
  assert.equal(greeted().rules?.hbMs, 30_000)
})

test('what is no event is refused, in the clear and sealed', () => {
  for (const bad of [
    '{', '[]', 'null', '{"t":1,"data":null}', '{"t":1,"data":[]}', '{"t":"1"}', '{"t":256}', '{"t":-1}', '{"t":1.5}',
    '{"data":{}}', '{"count":1,"data":[{"t":1}]}', '{"t":1,"count":1}', '\ufeff{"t":1}', '{"t":1} x',
  ]) {
    assert.throws(() => greeted().events(bad), ProtocolError, bad)
    assert.throws(() => greeted().events(sealed(bad)), ProtocolError, bad)
  }
  assert.throws(() => greeted().events(sealed(new Uint8Array([0x22, 0xff, 0x22]))), ProtocolError)
  assert.deepEqual(greeted().events('{"t":200,"more":1}'), [{ t: 200, data: {} }])
})

test('batches are as the first rules say', () => {
  const batching = { ...ANONYMOUS, batching: true, maxBatch: 2 }
  for (const bad of [
    '{"t":1}', '{"count":2,"data":[{"t":1}]}', '{"count":0,"data":[]}', '{"count":1}', '{"count":1,"data":{"t":1}}',
    '{"count":"1","data":[{"t":1}]}', '{"count":1,"t":1,"data":[{"t":1}]}', '{"count":1,"data":[{"count":1,"data":[]}]}',
    '{"count":3,"data":[{"t":1},{"t":1},{"t":1}]}', '{"count":1,"data":[7]}',
  ]) {
    assert.throws(() => greeted(batching).events(bad), ProtocolError, bad)
  }
  const inbound = greeted(batching)
  assert.deepEqual(inbound.events(sealed('{"count":2,"data":[{"t":9},{"t":8}]}')).map(({ t }) => t), [9, 8])
  inbound.events(sealed(`{"count":1,"data":[{"t":0,"data":${JSON.stringify(ANONYMOUS)}}]}`))
  assert.deepEqual([inbound.batching, inbound.rules?.maxBatch], [true, 64])
  assert.equal(inbound.events(sealed('{"count":1,"data":[{"t":9}]}')).length, 1)
})

test('text after a sealed message is an attack', () => {
  const inbound = greeted()
  inbound.events('{"t":9}')
  inbound.events(sealed('{"t":9}'))
  assert.throws(() => inbound.events('{"t":9}'), AttackError)
})

test('a challenge or a result in the clear is an attack', () => {
  for (const t of [3, 5]) assert.throws(() => greeted().events(`{"t":${t}}`), AttackError)
  const inbound = greeted({ ...ANONYMOUS, batching: true })
  assert.throws(() => inbound.events('{"count":2,"data":[{"t":9},{"t":5}]}'), AttackError)
})

test('what does not open is an attack', () => {
  const good = new Uint8Array(sealed('{"t":9}'))
  for (const at of [0, 1, 64, 65, 80, 81, 96, 97, good.length - 1]) {
    const bad = Uint8Array.from(good)
    bad[at]! ^= 1
    assert.throws(() => greeted().events(bad.buffer), AttackError, `byte ${at}`)
  }
  assert.throws(() => greeted().events(new ArrayBuffer(0)), AttackError)
  assert.equal(greeted().events(good.buffer).length, 1)
})

test('a message larger than the rules allow is refused', () => {
  const rules = { ...ANONYMOUS, maxMessage: 1_000 }
  const text = (length: number): string => `{"t":9}${' '.repeat(length - 7)}`
  assert.equal(greeted(rules).events(text(2_024)).length, 1)
  assert.throws(() => greeted(rules).events(text(2_025)), ProtocolError)
  assert.equal(greeted(rules).events(sealed(text(2_024 - 97))).length, 1)
  assert.throws(() => greeted(rules).events(sealed(text(2_025 - 97))), ProtocolError)
})
