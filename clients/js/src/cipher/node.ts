import { createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import type { SessionCipher } from './cipher.js'

const OPTIONS = { authTagLength: 16 }

/** AES-256-GCM of OpenSSL: on the processor's own AES instructions, and in constant time. */
class NodeCipher implements SessionCipher {
  readonly #key: KeyObject

  constructor(key: Uint8Array) {
    this.#key = createSecretKey(key)
  }

  open(nonce: Uint8Array, ciphertext: Uint8Array, tag: Uint8Array): Uint8Array {
    const decipher = createDecipheriv('aes-256-gcm', this.#key, nonce, OPTIONS)
    decipher.setAuthTag(tag)
    const plaintext = decipher.update(ciphertext)
    decipher.final()
    return plaintext
  }
}

/** Makes the cipher of a session key. */
export function sessionCipher(key: Uint8Array): SessionCipher {
  return new NodeCipher(key)
}
