import { gcm } from '@noble/ciphers/aes.js'
import type { SessionCipher } from './cipher.js'

/** AES-256-GCM of noble, for where there is no synchronous one of the platform's: it builds its tables for each message. */
class NobleCipher implements SessionCipher {
  readonly #key: Uint8Array

  constructor(key: Uint8Array) {
    this.#key = key.slice()
  }

  open(nonce: Uint8Array, ciphertext: Uint8Array, tag: Uint8Array): Uint8Array {
    // noble takes the tag behind the ciphertext; ECIES has it in front.
    const sealed = new Uint8Array(ciphertext.length + tag.length)
    sealed.set(ciphertext)
    sealed.set(tag, ciphertext.length)
    return gcm(this.#key, nonce).decrypt(sealed)
  }
}

/** Makes the cipher of a session key. */
export function sessionCipher(key: Uint8Array): SessionCipher {
  return new NobleCipher(key)
}
