import { secp256k1 } from '@noble/curves/secp256k1.js'
import { hkdf } from '@noble/hashes/hkdf.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { concatBytes } from '@noble/hashes/utils.js'
import { sessionCipher } from '#cipher'
import type { MakeCipher, SessionCipher } from './cipher/cipher.js'
import { secretBytes, type Secret } from './key.js'

const POINT_BYTES = 65
const NONCE_END = 81
const OVERHEAD_BYTES = 97
/** Keys of the last two epochs are remembered (PROTOCOL.md section 7.4). */
const EPOCHS = 2

interface Epoch {
  readonly point: Uint8Array
  readonly cipher: SessionCipher
}

/**
 * Opens sealed messages (PROTOCOL.md section 7), and remembers the session keys of the last two epochs: a message then
 * costs one AES-GCM instead of a multiplication on the curve. It is synchronous, so that messages keep their order.
 */
export class Opener {
  readonly #secret: Uint8Array
  readonly #makeCipher: MakeCipher
  /** The newest first. */
  #epochs: readonly Epoch[] = []

  /** @throws {@link UsageError} if the secret is no key. */
  constructor(secret: Secret, makeCipher: MakeCipher = sessionCipher) {
    this.#secret = secretBytes(secret)
    this.#makeCipher = makeCipher
  }

  /**
   * Gives the plaintext of one sealed message.
   *
   * @throws an Error if it is not sealed to this key, or was changed.
   */
  open(sealed: Uint8Array): Uint8Array {
    if (sealed.length < OVERHEAD_BYTES || sealed[0] !== 4) throw new Error('not a sealed message')
    const known = this.#epochs.find((epoch) => isPointOf(epoch, sealed))
    const epoch = known ?? this.#derive(sealed.slice(0, POINT_BYTES))
    const plaintext = epoch.cipher.open(
      sealed.subarray(POINT_BYTES, NONCE_END),
      sealed.subarray(OVERHEAD_BYTES),
      sealed.subarray(NONCE_END, OVERHEAD_BYTES),
    )
    // Only now: what does not open is not worth a place.
    if (!known) this.#epochs = [epoch, ...this.#epochs.slice(0, EPOCHS - 1)]
    return plaintext
  }

  #derive(point: Uint8Array): Epoch {
    // The whole point; this checks that it is on the curve.
    const shared = secp256k1.getSharedSecret(this.#secret, point, false)
    const key = hkdf(sha256, concatBytes(point, shared), undefined, undefined, 32)
    return { point, cipher: this.#makeCipher(key) }
  }
}

function isPointOf({ point }: Epoch, sealed: Uint8Array): boolean {
  // From the end: points differ there at once, and all begin with 04.
  for (let i = POINT_BYTES - 1; i >= 0; i--) if (point[i] !== sealed[i]) return false
  return true
}
