import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { generateSecret, identityOf, Opener, signChallenge, UsageError } from '@mida/client'
import { schnorr } from '@noble/curves/secp256k1.js'
import { hexToBytes } from '@noble/hashes/utils.js'
import { sessionCipher as nobleCipher } from '../dist/cipher/noble.js'
import { sessionCipher as nodeCipher } from '../dist/cipher/node.js'
import { normalIdentity } from '../dist/key.js'
import { Sealer } from './seal.js'

const VECTORS = JSON.parse(readFileSync(new URL('../../../tests/vectors/interop.json', import.meta.url), 'utf8'))
const SECRET = 'dcd25cfbae2ede5f4dbf2b90e3858f2b7abeb9b26fe99331f2f7c827f7be9692'
const IDENTITY = '0207a11a63641b0c4fb5f9ed06142f2e52e3d800d1f01a9b7564d4f4a003c96ef7'

test('what other libraries seal is opened', () => {
  assert.ok(VECTORS.ecies.length > 0)
  for (const { private_key_hex, plaintext_hex, ciphertext_hex, producer } of VECTORS.ecies) {
    for (const cipher of [nodeCipher, nobleCipher]) {
      const opener = new Opener(private_key_hex, cipher)
      const opened = opener.open(hexToBytes(ciphertext_hex))
      assert.equal(Buffer.from(opened).toString('hex'), plaintext_hex, producer)
      assert.deepEqual(opener.open(hexToBytes(ciphertext_hex)), opened, 'from memory')
    }
  }
})

test('a solution in mida-v1 verifies against the digest of the vectors', () => {
  assert.ok(VECTORS.mida_v1.length > 0)
  for (const { private_key, identity, host, challenge, digest } of VECTORS.mida_v1) {
    assert.equal(identityOf(private_key), identity)
    for (const given of [challenge, challenge.toUpperCase()]) {
      const solution = signChallenge(private_key, host, given)
      assert.ok(schnorr.verify(hexToBytes(solution), hexToBytes(digest), hexToBytes(identity.slice(2))))
    }
  }
})

test('the keys of two epochs are remembered, and only of what opened', () => {
  let made = 0
  const opener = new Opener(SECRET, (key) => {
    made += 1
    return nodeCipher(key)
  })
  const [a, b, c] = [new Sealer(IDENTITY), new Sealer(IDENTITY), new Sealer(IDENTITY)]
  const opens = (sealer: Sealer, expected: number): void => {
    assert.equal(Buffer.from(opener.open(sealer.seal('hello'))).toString(), 'hello')
    assert.equal(made, expected)
  }
  for (const [sealer, expected] of [[a, 1], [a, 1], [b, 2], [b, 2], [a, 2], [b, 2]] as const) opens(sealer, expected)
  const spoiled = c.seal('hello')
  spoiled[100]! ^= 1
  assert.throws(() => opener.open(spoiled))
  assert.equal(made, 3)
  for (const [sealer, expected] of [[a, 3], [b, 3], [c, 4], [b, 4], [a, 5]] as const) opens(sealer, expected)
})

test('what is not sealed to this key does not open', () => {
  const opener = new Opener(SECRET)
  const sealed = new Sealer(IDENTITY).seal('hello')
  const offCurve = Uint8Array.from(sealed)
  offCurve[64]! ^= 1
  const hybrid = Uint8Array.from(sealed)
  hybrid[0] = 6
  for (const bad of [sealed.subarray(0, 96), new Uint8Array(0), offCurve, hybrid, new Uint8Array(200)]) {
    assert.throws(() => opener.open(bad))
  }
  assert.throws(() => new Opener(generateSecret()).open(sealed))
  assert.equal(Buffer.from(opener.open(sealed)).toString(), 'hello')
})

test('what is no secret is refused without being told', () => {
  for (const bad of ['', SECRET.slice(1), `02${SECRET}`, '0'.repeat(64), 'f'.repeat(64), new Uint8Array(32), new Uint8Array(31)]) {
    assert.throws(() => identityOf(bad), (error: Error) => {
      return error instanceof UsageError && (bad.length === 0 || !error.message.includes(String(bad)))
    })
  }
  assert.equal(identityOf(`${SECRET}\n`), IDENTITY)
  assert.equal(identityOf(hexToBytes(SECRET)), IDENTITY)
})

test('both forms of a public key are one identity', () => {
  for (const { private_key_hex, public_key_hex } of VECTORS.ecies) {
    assert.equal(normalIdentity(public_key_hex.toUpperCase()), identityOf(private_key_hex))
    assert.equal(normalIdentity(identityOf(private_key_hex).toUpperCase()), identityOf(private_key_hex))
  }
  for (const bad of ['', 'ann', IDENTITY.slice(1), `05${IDENTITY.slice(2)}`, `${IDENTITY}00`]) {
    assert.throws(() => normalIdentity(bad), UsageError)
  }
})
