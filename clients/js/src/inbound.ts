import { AttackError, ProtocolError } from './errors.js'
import { CHALLENGE, RESULT, RULES, type Event, type Rules } from './events.js'
import type { Opener } from './opener.js'
import { isObject, readRules } from './read.js'

/** The server's messages are at most so much longer than a client's (PROTOCOL.md section 4.0). */
const SERVER_EXTRA_BYTES = 1_024

/** From messages to events: what is sealed is opened, batches are taken apart, and attacks are told from errors. */
export class Inbound {
  readonly #opener: Opener | undefined
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  #sealed = false
  #rules: Rules | undefined
  /** Fixed by the first rules. */
  #batching: boolean | undefined

  constructor(opener: Opener | undefined) {
    this.#opener = opener
  }

  /** The newest rules. */
  get rules(): Rules | undefined {
    return this.#rules
  }

  /** Whether batches may be sent on this connection. */
  get batching(): boolean {
    return this.#batching === true
  }

  /**
   * The events of one WebSocket message: text, or bytes if it was binary.
   *
   * @throws {@link AttackError} or {@link ProtocolError}: nothing of it may be believed, and the connection has to end.
   */
  events(message: string | ArrayBuffer): Event[] {
    const events = typeof message === 'string' ? this.#clear(message) : this.#opened(new Uint8Array(message))
    for (const { t, data } of events) if (t === RULES) this.#rules = readRules(data)
    this.#batching ??= this.#rules?.batching
    return events
  }

  #clear(text: string): Event[] {
    if (this.#sealed) throw new AttackError('a message in the clear came after sealed ones')
    this.#checkSize(text.length)
    const events = this.#parse(text)
    if (events.some(({ t }) => t === CHALLENGE || t === RESULT)) {
      throw new AttackError('a challenge or its result came in the clear')
    }
    return events
  }

  #opened(sealed: Uint8Array): Event[] {
    if (!this.#rules) throw new ProtocolError('the first message is not the rules in the clear')
    if (!this.#opener) throw new ProtocolError('a sealed message came, and this client has no key')
    this.#checkSize(sealed.length)
    let plaintext
    try {
      plaintext = this.#opener.open(sealed)
    } catch (cause) {
      throw new AttackError('a sealed message is not for this key, or was changed', { cause })
    }
    this.#sealed = true
    let text
    try {
      text = this.#decoder.decode(plaintext)
    } catch (cause) {
      throw new ProtocolError('a sealed message is not UTF-8', { cause })
    }
    return this.#parse(text)
  }

  #checkSize(bytes: number): void {
    if (this.#rules && bytes > this.#rules.maxMessage + SERVER_EXTRA_BYTES) {
      throw new ProtocolError('a message is larger than the rules allow')
    }
  }

  #parse(text: string): Event[] {
    let message: unknown
    try {
      message = JSON.parse(text)
    } catch (cause) {
      throw new ProtocolError('a message is not JSON', { cause })
    }
    if (!isObject(message)) throw new ProtocolError('a message is no object')
    if (!this.#rules) {
      const event = toEvent(message)
      if (event.t !== RULES) throw new ProtocolError('the first message is not the rules')
      return [event]
    }
    if (('count' in message) !== this.#batching) throw new ProtocolError('batches are not as the first rules say')
    if (!this.#batching) return [toEvent(message)]
    const { count, data } = message
    const isRight = Array.isArray(data) && data.length === count && data.length > 0 && data.length <= this.#rules.maxBatch
    if (!isRight || 't' in message) throw new ProtocolError("a batch's count is not that of its messages")
    return data.map(toEvent)
  }
}

function toEvent(message: unknown): Event {
  if (!isObject(message) || 'count' in message) throw new ProtocolError('a message is no event')
  const { t, data = {} } = message
  const isNumber = typeof t === 'number' && Number.isInteger(t) && t >= 0 && t <= 255
  if (!isNumber || !isObject(data)) throw new ProtocolError('a message is no event')
  return { t, data }
}
