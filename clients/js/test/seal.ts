// Seals as a server does (PROTOCOL.md section 7), with libraries of its own: one ephemeral key serves many messages.

import { createCipheriv, createECDH, hkdfSync } from 'node:crypto'
import { secp256k1 } from '@noble/curves/secp256k1.js'

export class Sealer {
  readonly #point: Buffer
  readonly #key: Buffer
  #count = 0n

  constructor(identity: string) {
    const ephemeral = createECDH('secp256k1')
    this.#point = ephemeral.generateKeys()
    const secret = Buffer.alloc(32)
    ephemeral.getPrivateKey().copy(secret, 32 - ephemeral.getPrivateKey().length)
    const shared = secp256k1.Point.fromHex(identity).multiply(BigInt(`0x${secret.toString('hex')}`)).toBytes(false)
    this.#key = Buffer.from(hkdfSync('sha256', Buffer.concat([this.#point, shared]), '', '', 32))
  }

  seal(text: string | Uint8Array): Buffer {
    const nonce = Buffer.alloc(16)
    this.#point.copy(nonce, 0, 1, 9)
    nonce.writeBigUInt64BE(this.#count++, 8)
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce)
    const ciphertext = Buffer.concat([cipher.update(text), cipher.final()])
    return Buffer.concat([this.#point, nonce, cipher.getAuthTag(), ciphertext])
  }
}
