import assert from 'node:assert/strict'
import { test } from 'node:test'
import { adviceFor, Backoff, closedWith } from '../dist/reconnect.js'

test('each close code is followed as the protocol says', () => {
  for (const [then, codes] of [
    ['again', [1000, 1001, 1005, 1006, 4004, 4008, 4009]],
    ['backoff', [1011, 1013, 4010, 1012, 3000, 4999]],
    ['stop', [1002, 1003, 1007, 1008, 1009, 4000, 4003]],
  ] as const) {
    for (const code of codes) assert.equal(adviceFor(code).then, then, String(code))
  }
  for (const [code, fault] of [[1006, 'network'], [1001, 'server'], [1009, 'caller'], [1011, 'server'], [4009, 'caller']]) {
    assert.equal(closedWith(code as number, '').fault, fault)
  }
})

test('delays double up to a minute, start anew after a success, and not after a fault', () => {
  const backoff = new Backoff(() => 1)
  const delays = Array.from({ length: 8 }, () => backoff.next(1006, false))
  assert.deepEqual(delays, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
  assert.equal(backoff.next(1011, true), 60_000)
  assert.equal(backoff.next(4010, true), 70_000)
  assert.equal(backoff.next(1001, true), 1_000)
  assert.equal(backoff.next(1001, false), 2_000)
})

test('the jitter is full', () => {
  const backoff = (random: number): number => new Backoff(() => random).next(1006, false)
  assert.deepEqual([0, 0.25, 0.999].map(backoff), [0, 250, 999])
  assert.equal(new Backoff(() => 0).next(4010, false), 10_000)
})
