import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '@mida/client'
import { byteLength, encode, pack } from '../dist/outbound.js'

test('the bytes of a text are those of its UTF-8', () => {
  for (const text of ['', 'a', '\x7f\x80', '\u07ff\u0800', '\ud7ff\ue000', '\uffff', '😀', 'bücher 😀 €']) {
    assert.equal(byteLength(text), Buffer.byteLength(text), text)
  }
})

test('what no server would take is not sent', () => {
  const cycle: unknown[] = []
  cycle.push(cycle)
  const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)])
  for (const body of [cycle, 1n, '\ud83d', 'x\ude00', { '\ud83d': 1 }, nested(29), ['\\', '\ud83d']]) {
    assert.throws(() => encode(129, { body }), UsageError)
  }
  for (const body of ['😀', '\\ud83d', '\\\\ud83d', '"[{', '\u0001', nested(28), Array(100).fill([1])]) {
    assert.deepEqual(JSON.parse(encode(129, { body })), { t: 129, data: { body } })
  }
})

test('messages are packed in order, within the bounds of a batch', () => {
  const texts = Array.from({ length: 7 }, (_, n) => encode(1, { n }))
  assert.deepEqual(pack(texts, false, 64, 1_000), texts.map((text) => ({ text, count: 1 })))
  assert.deepEqual(pack([], true, 64, 1_000), [])
  for (const [maxBatch, maxMessage] of [[64, 65_536], [3, 65_536], [64, 100], [1, 65_536], [64, 30]] as const) {
    const frames = pack(texts, true, maxBatch, maxMessage)
    const unpacked = frames.flatMap(({ text, count }) => {
      const message = JSON.parse(text)
      assert.equal('count' in message ? message.count : 1, count)
      assert.ok(count <= maxBatch && (count === 1 || text.length <= maxMessage))
      return 'count' in message ? message.data : [message]
    })
    assert.deepEqual(unpacked, texts.map((text) => JSON.parse(text)))
  }
  assert.deepEqual(pack(texts, true, 4, 65_536).map(({ count }) => count), [4, 3])
})
