import assert from 'node:assert/strict'
import { createCipheriv, createHash } from 'node:crypto'
import { test } from 'node:test'
import { sessionCipher as nobleCipher } from '../dist/cipher/noble.js'
import { sessionCipher as nodeCipher } from '../dist/cipher/node.js'

const CIPHERS = { node: nodeCipher, noble: nobleCipher }

/** Bytes that are the same in each run. */
function bytes(seed: string, length: number): Buffer {
  return createHash('shake256', { outputLength: Math.max(length, 1) }).update(seed).digest().subarray(0, length)
}

function sealed(key: Buffer, nonce: Buffer, text: Buffer): { ciphertext: Buffer; tag: Buffer } {
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  const ciphertext = Buffer.concat([cipher.update(text), cipher.final()])
  return { ciphertext, tag: cipher.getAuthTag() }
}

for (const [name, makeCipher] of Object.entries(CIPHERS)) {
  test(`${name}: one cipher opens many messages of all lengths`, () => {
    const key = bytes('key', 32)
    const cipher = makeCipher(key)
    for (const length of [...Array(260).keys(), 1_000, 4_095, 4_096, 66_560]) {
      const [nonce, text] = [bytes(`nonce ${length}`, 16), bytes(`text ${length}`, length)]
      const { ciphertext, tag } = sealed(key, nonce, text)
      assert.deepEqual(Buffer.from(cipher.open(nonce, ciphertext, tag)), text, `${length} bytes`)
    }
  })

  test(`${name}: each changed bit is seen, and spoils nothing that follows`, () => {
    const [key, nonce, text] = [bytes('key', 32), bytes('nonce', 16), bytes('text', 40)]
    const cipher = makeCipher(key)
    const { ciphertext, tag } = sealed(key, nonce, text)
    for (const part of [nonce, ciphertext, tag]) {
      for (let bit = 0; bit < part.length * 8; bit++) {
        part[bit >> 3]! ^= 1 << (bit & 7)
        assert.throws(() => cipher.open(nonce, ciphertext, tag), `bit ${bit}`)
        part[bit >> 3]! ^= 1 << (bit & 7)
      }
    }
    assert.throws(() => cipher.open(nonce, ciphertext, tag.subarray(0, 15)))
    assert.throws(() => cipher.open(nonce, ciphertext.subarray(0, 39), tag))
    assert.deepEqual(Buffer.from(cipher.open(nonce, ciphertext, tag)), text)
  })
}
