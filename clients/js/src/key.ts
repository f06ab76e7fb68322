import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, hexToBytes, randomBytes, utf8ToBytes } from '@noble/hashes/utils.js'
import { UsageError } from './errors.js'

/** A secret key: 32 bytes, or their 64 hex digits as `mida keygen` writes them. */
export type Secret = Uint8Array | string

/** Makes a new secret key of 32 bytes. Whoever has it is the user: store it well. */
export function generateSecret(): Uint8Array {
  return secp256k1.utils.randomSecretKey()
}

/** The identity that belongs to a secret key: the 33-byte public key in lowercase hex. */
export function identityOf(secret: Secret): string {
  return bytesToHex(secp256k1.getPublicKey(secretBytes(secret), true))
}

/** A copy of the 32 bytes. @throws {@link UsageError} if it is no secret key; the text does not tell what it is. */
export function secretBytes(secret: Secret): Uint8Array {
  const isHex = typeof secret === 'string' && /^[0-9a-f]{64}\s*$/i.test(secret)
  const bytes = isHex ? hexToBytes(secret.slice(0, 64)) : secret
  if (!(bytes instanceof Uint8Array) || !secp256k1.utils.isValidSecretKey(bytes)) {
    throw new UsageError('the secret is no key: give 32 bytes or 64 hex digits')
  }
  return Uint8Array.from(bytes)
}

/**
 * The identity in lowercase hex, for a public key of 33 or 65 bytes in hex. Whether it is on the curve is left to the
 * server.
 *
 * @throws {@link UsageError} if it has not the form of one.
 */
export function normalIdentity(key: string): string {
  const hex = key.toLowerCase()
  if (/^0[23][0-9a-f]{64}$/.test(hex)) return hex
  if (!/^04[0-9a-f]{128}$/.test(hex)) throw new UsageError('a recipient is no public key: 33 or 65 bytes in hex')
  return (Number.parseInt(hex.slice(-1), 16) % 2 === 0 ? '02' : '03') + hex.slice(2, 66)
}

/**
 * Signs a challenge in the scheme `mida-v1` (PROTOCOL.md section 5.1) and gives the solution in hex.
 *
 * @param host - `URL.host` of what was dialled (section 5.2).
 * @param challenge - 64 hex digits.
 */
export function signChallenge(secret: Secret, host: string, challenge: string): string {
  const bytes = secretBytes(secret)
  const text = ['mida-auth-v1', host, challenge.toLowerCase(), identityOf(bytes)].join('\n')
  return bytesToHex(schnorr.sign(sha256(utf8ToBytes(text)), bytes))
}

/** A client's id for a message: 16 random bytes in hex. */
export function newId(): string {
  return bytesToHex(randomBytes(16))
}
