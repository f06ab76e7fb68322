import type { Environment } from './environment.js'
import type { Message } from './events.js'

/** Ids remembered, to know repeats by: a server has at most 64 unacked ones in flight. Also the most ids of one ack. */
const REMEMBERED_MAX = 1_000
/** Acks go out together. */
const ACK_DELAY_MS = 100
const ACK_NOW = 32

/** Takes a message; it is acked when this has returned, or its promise is fulfilled. */
export type MessageHandler = (message: Message) => unknown

/**
 * Messages to this key: each is handled once and then acked (PROTOCOL.md section 12). Delivery is at least once, so repeats
 * are known by their `id`; one whose handler failed is not acked, and comes again with the next connection.
 */
export class Mailbox {
  readonly #environment: Environment
  readonly #ack: (ids: string[]) => boolean
  readonly #failed: (error: unknown) => void
  readonly #seen = new Map<string, 'running' | 'done'>()
  readonly #acks = new Set<string>()
  #timer: unknown

  /**
   * @param ack - Sends an ack; says whether it could.
   * @param failed - Is told what a handler throws.
   */
  constructor(environment: Environment, ack: (ids: string[]) => boolean, failed: (error: unknown) => void) {
    this.#environment = environment
    this.#ack = ack
    this.#failed = failed
  }

  /** A message arrived. Without a handler it stays with the server. */
  take(message: Message, handler: MessageHandler | undefined): void {
    if (!handler) return
    // Of a topic: never stored, nothing to ack.
    if (message.topic !== undefined) return void this.#run(message, handler)
    const state = this.#seen.get(message.id)
    if (state === 'done') this.#done(message.id)
    if (state) return
    this.#remember(message.id)
    void this.#run(message, handler).then((isHandled) => {
      if (isHandled) this.#done(message.id)
      else this.#seen.delete(message.id)
    })
  }

  /** Sends the acks that wait. */
  flush(): void {
    this.#environment.clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#acks.size > 0 && this.#ack([...this.#acks])) this.#acks.clear()
  }

  stop(): void {
    this.#environment.clearTimeout(this.#timer)
  }

  async #run(message: Message, handler: MessageHandler): Promise<boolean> {
    try {
      await handler(message)
      return true
    } catch (error) {
      this.#failed(error)
      return false
    }
  }

  #remember(id: string): void {
    this.#seen.set(id, 'running')
    const [oldest] = this.#seen.keys()
    if (this.#seen.size > REMEMBERED_MAX && oldest !== undefined) this.#seen.delete(oldest)
  }

  #done(id: string): void {
    if (this.#seen.has(id)) this.#seen.set(id, 'done')
    // More than a server can have in flight: an ack that is lost is given again when its message comes again.
    if (this.#acks.size < REMEMBERED_MAX) this.#acks.add(id)
    if (this.#acks.size >= ACK_NOW) this.flush()
    else this.#timer ??= this.#environment.setTimeout(() => this.flush(), ACK_DELAY_MS)
  }
}
