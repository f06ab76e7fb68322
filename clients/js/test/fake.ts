// A server that does what a test says, messages between keys included: what the real one does only under load or when it fails.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { schnorr } from '@noble/curves/secp256k1.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js'
import { WebSocketServer, type WebSocket } from 'ws'
import { Queue } from './queue.js'
import { Sealer } from './seal.js'

export const CHALLENGE = '53dd5095c60ba8c1d7772fd290b5c9b18fd8d148511cf4442f8d958fa7e5a828'
export const ANONYMOUS = {
  v: 1, hb: 30_000, perms: ['metadata', 'auth'], batching: false,
  auth: 'signature', authWithin: 0, maxMessage: 65_536, maxBatch: 64, ext: ['msg'],
}
export const MEMBER = { ...ANONYMOUS, perms: ['metadata', 'send', 'topic.join', 'topic.publish'] }
export const METADATA = { name: 'fake', online: 1, uptime: 5 }

interface Sent {
  readonly t: number
  readonly data: Record<string, any>
}

/** One connection, as the server sees it. */
export class Peer {
  sealer: Sealer | undefined
  identity = ''
  batching = false
  readonly messages = new Queue<Sent>()
  /** Messages in each WebSocket message. */
  readonly sizes: number[] = []
  readonly closed: Promise<number>

  constructor(readonly socket: WebSocket, readonly host: string) {
    this.closed = once(socket, 'close').then(([code]) => code)
    socket.on('message', (bytes: Buffer, isBinary: boolean) => {
      assert.equal(isBinary, false)
      const message = JSON.parse(bytes.toString())
      const messages = 'count' in message ? message.data : [message]
      this.sizes.push(messages.length)
      for (const { t, data = {} } of messages) this.messages.push({ t, data })
    })
  }

  /** Says one event, or several in one WebSocket message where batching is on. */
  say(...events: [t: number, data: object][]): void {
    const messages = events.map(([t, data]) => ({ t, data }))
    const texts = this.batching ? [{ count: messages.length, data: messages }] : messages
    for (const text of texts.map((message) => JSON.stringify(message))) {
      this.socket.send(this.sealer ? this.sealer.seal(text) : text)
    }
  }

  greet(rules: object = ANONYMOUS): void {
    this.say([0, rules])
    this.batching = 'batching' in rules && rules.batching === true
  }

  /** The next message, which has to be this event. */
  async next(t: number): Promise<Record<string, any>> {
    const message = await this.messages.next()
    assert.equal(message.t, t, JSON.stringify(message))
    return message.data
  }

  /** Answers a question for metadata. */
  async answerMetadata(): Promise<void> {
    await this.next(1)
    this.say([1, METADATA])
  }

  /** Takes event 2, and seals from then on. */
  async takeAuth(): Promise<Record<string, any>> {
    const auth = await this.next(2)
    this.identity = auth['pubKey']
    this.sealer = new Sealer(this.identity)
    return auth
  }

  /** Greets and takes a login whose solution must be right. */
  async login(rules: object = MEMBER): Promise<Record<string, any>> {
    this.greet({ ...rules, perms: ANONYMOUS.perms })
    const auth = await this.takeAuth()
    this.say([3, { challenge: CHALLENGE, schemes: ['mida-v1', 'ecdsa'], expiresIn: 60_000 }])
    const { scheme, solution } = await this.next(4)
    assert.equal(scheme, 'mida-v1')
    const text = ['mida-auth-v1', this.host, CHALLENGE, this.identity].join('\n')
    assert.ok(schnorr.verify(hexToBytes(solution), sha256(utf8ToBytes(text)), hexToBytes(this.identity.slice(2))))
    this.say([5, { passed: true, user: { displayName: '', unreadMessages: 0 } }], [0, rules])
    return auth
  }
}

/** The server. */
export class Fake {
  readonly #server: WebSocketServer
  readonly #peers = new Queue<Peer>()

  private constructor(server: WebSocketServer) {
    this.#server = server
    server.on('connection', (socket) => this.#peers.push(new Peer(socket, this.host)))
  }

  static async start(): Promise<Fake> {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols: () => 'mida' })
    await once(server, 'listening')
    return new Fake(server)
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  get url(): string {
    return `ws://${this.host}`
  }

  /** The next connection. */
  peer(): Promise<Peer> {
    return this.#peers.next()
  }

  stop(): void {
    for (const socket of this.#server.clients) socket.terminate()
    this.#server.close()
  }
}
