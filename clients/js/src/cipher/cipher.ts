/** AES-256-GCM with a 16-byte nonce under one key, whose schedule is kept. */
export interface SessionCipher {
  /**
   * Gives the plaintext.
   *
   * @throws if the tag is not that of the ciphertext; nothing of the plaintext is given away then.
   */
  open(nonce: Uint8Array, ciphertext: Uint8Array, tag: Uint8Array): Uint8Array
}

/** Makes a {@link SessionCipher} of a 32-byte key. */
export type MakeCipher = (key: Uint8Array) => SessionCipher
