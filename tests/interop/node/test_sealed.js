// What an epoch seals, to its end and across it: messages that run.sh had made (examples/sealed.rs).

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js'
import { decrypt } from 'eciesjs'
import { check } from './harness.js'

const MESSAGES = readFileSync(process.env.SEALED_LINES, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line))

check('every message across two rekeys opens with the stock library', async () => {
  assert.ok(MESSAGES.length >= 100)
  for (const { secret, plaintext, sealed } of MESSAGES) {
    assert.equal(bytesToHex(decrypt(secret, hexToBytes(sealed))), plaintext)
  }
  const sizes = MESSAGES.map(({ plaintext }) => plaintext.length / 2)
  assert.deepEqual([Math.min(...sizes), Math.max(...sizes)], [0, 4096])
})

check('a rekey brings another ephemeral key', async () => {
  const points = MESSAGES.map(({ sealed }) => sealed.slice(0, 130))
  const different = new Set(points).size
  const changes = points.filter((point, nth) => nth > 0 && point !== points[nth - 1]).length
  assert.ok(different >= 3)
  assert.equal(changes, different - 1, 'an old one came back')
})

check('no nonce comes twice under one ephemeral key', async () => {
  const pairs = new Set(MESSAGES.map(({ sealed }) => sealed.slice(0, 162)))
  assert.equal(pairs.size, MESSAGES.length)
})
