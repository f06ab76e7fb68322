// A Mida client. Section numbers refer to PROTOCOL.md.

import { on, once } from 'node:events'
import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import WebSocket from 'ws'

export const [RULES, METADATA, AUTH, CHALLENGE, SOLUTION, RESULT, ERROR] = [0, 1, 2, 3, 4, 5, 128]

// What answers a request, beside an error (3.3). An `auth` of "key" answers event 2 with 5 (6).
const ANSWERS = { [METADATA]: [METADATA], [AUTH]: [CHALLENGE, RESULT], [SOLUTION]: [RESULT] }

/** What arrived is no Mida, or an attack. The connection is closed. */
export class Violation extends Error {}

/** The connection ended: `code` is the one of section 10. */
export class Closed extends Error {
  constructor(code) {
    super(`closed with ${code}`)
    this.code = code
  }
}

/** The server answered a request with an error (4.6) or a failed login (4.5): see `data`. */
export class Refused extends Error {
  constructor(data) {
    super(data.code ?? data.reason)
    this.data = data
  }
}

/** One connection to a server. Make it with `connect`, and again for every reconnection. */
export class Client {
  rules = null // the newest ones
  batching = null // fixed by the first rules (3.2)
  sealed = false
  #arrived = [] // events of a batch that nobody took yet

  /** Connects and waits for the rules. `secret` is a Uint8Array(32). */
  static async connect(url, secret, { opener, protocols = ['mida'], ...options } = {}) {
    const ws = new WebSocket(url, protocols, options)
    const client = new this(ws, new URL(url).host, secret, opener ?? new Opener(secret))
    await once(client.ws, 'open')
    await client.receive()
    return client
  }

  constructor(ws, host, secret, opener) {
    Object.assign(this, { ws, host, secret, opener })
    this.frames = on(ws, 'message', { close: ['close'] })
    this.closed = new Promise((resolve) => ws.once('close', resolve))
    ws.on('error', () => {}) // 'close' follows and tells
  }

  get identity() {
    return bytesToHex(secp256k1.getPublicKey(this.secret, true))
  }

  /** Logs in; `wishes` may be `method` and `user` (4.2). Returns the `user` of event 5. */
  async logIn(wishes = {}) {
    let answer = await this.request(AUTH, { pubKey: this.identity, ...wishes })
    if ('challenge' in answer) { // not where the rules' `auth` is "key"
      if (!answer.schemes.includes('mida-v1')) {
        throw new Violation('the server wants a signature that can be relayed')
      }
      const solution = sign(this.secret, this.host, answer.challenge)
      answer = await this.request(SOLUTION, { scheme: 'mida-v1', solution })
    }
    if (!answer.passed) throw new Refused(answer)
    await this.receive() // the new rules
    return answer.user
  }

  /** Sends one request and returns the `data` of its answer. */
  async request(t, data) {
    this.send(t, data)
    for (;;) {
      const event = await this.receive()
      if (!isAnswer(event, t)) this.onUnasked(event)
      else if (event.t === ERROR) throw new Refused(event.data)
      else return event.data
    }
  }

  /** For subclasses: called with what arrives while `request` waits for something else. */
  onUnasked(_event) {}

  send(t, data = {}) {
    this.ws.send(JSON.stringify({ t, data }))
  }

  /** Sends requests, each `[t, data]`, as one batch. Only where the first rules allow it. */
  sendBatch(...requests) {
    const messages = requests.map(([t, data]) => ({ t, data }))
    this.ws.send(JSON.stringify({ count: messages.length, data: messages }))
  }

  /** The next event. One call at a time: they arrive in order. Throws `Closed` after the last one. */
  async receive() {
    if (this.#arrived.length === 0) {
      const { value, done } = await this.frames.next()
      if (done) throw new Closed(await this.closed)
      try {
        this.#arrived = await this.eventsOf(...value)
      } catch (error) {
        this.ws.close()
        throw new Violation(error.message)
      }
    }
    const event = this.#arrived.shift()
    if (event.t === RULES) this.rules = event.data
    return event
  }

  /** Takes a WebSocket message apart: a binary one is sealed, text is in the clear. */
  async eventsOf(frame, sealed) {
    if (this.sealed && !sealed) throw new Error('a message in the clear after a sealed one')
    if (frame.length > this.rules?.maxMessage + 1024) throw new Error('a message that is too big (4.0)')
    const message = JSON.parse(sealed ? await this.opener.open(new Uint8Array(frame)) : frame.toString())
    this.sealed = sealed // only now: it opened

    const { count } = message
    if (('count' in message) !== Boolean(this.batching)) {
      throw new Error('the rules say otherwise about batches')
    }
    const messages = this.batching ? message.data : [message]
    if (this.batching && (messages.length !== count || count < 1 || count > this.rules.maxBatch)) {
      throw new Error('a batch of the wrong size')
    }
    const events = messages.map(({ t, data = {} }) => ({ t, data, sealed }))

    if (this.batching === null) {
      const [{ t, data }] = events
      if (t !== RULES || sealed || data.v !== 1) throw new Error('not the rules of version 1')
      this.batching = data.batching
    }
    if (!sealed && events.some(({ t }) => t === CHALLENGE || t === RESULT)) {
      throw new Error('a login in the clear')
    }
    return events
  }

  close() {
    this.ws.close(1000)
    return this.closed
  }
}

/** Whether an event answers the oldest request, given by its `t` (3.3). All else is unasked. */
export function isAnswer(event, request) {
  if (event.t === ERROR) return event.data.re === request
  if (event.t === RESULT && event.data.reason === 'expired') return false
  return ANSWERS[request]?.includes(event.t) ?? false
}

/** The solution in scheme `mida-v1` (5.1), in hex. */
export function sign(secret, host, challenge) {
  const identity = bytesToHex(secp256k1.getPublicKey(secret, true))
  const text = ['mida-auth-v1', host, challenge.toLowerCase(), identity].join('\n')
  return bytesToHex(schnorr.sign(sha256(utf8ToBytes(text)), secret))
}

/** Opens sealed messages and remembers the keys of the last two epochs (7.4). */
export class Opener {
  constructor(secret) {
    this.secret = secret
    this.keys = new Map()
  }

  async open(raw) {
    if (raw.length < 97 || raw[0] !== 4) throw new Error('not a sealed message')
    const p = raw.slice(0, 65)
    const name = p.join()
    let key = this.keys.get(name)
    if (!key) {
      const s = secp256k1.getSharedSecret(this.secret, p, false) // whole point; checks the curve
      const ikm = await crypto.subtle.importKey(
        'raw', new Uint8Array([...p, ...s]), 'HKDF', false, ['deriveKey'])
      key = await crypto.subtle.deriveKey(
        { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info: new Uint8Array() },
        ikm, { name: 'AES-GCM', length: 256 }, false, ['decrypt'])
    }
    const sealed = new Uint8Array([...raw.slice(97), ...raw.slice(81, 97)])
    const text = await crypto.subtle.decrypt({ name: 'AES-GCM', iv: raw.slice(65, 81) }, key, sealed)
    if (!this.keys.has(name)) { // remember it only now
      this.keys = new Map([...[...this.keys].slice(-1), [name, key]])
    }
    return new TextDecoder().decode(text)
  }
}
