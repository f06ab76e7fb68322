import { Client, NotOfferedError, RefusedError, UsageError, type Json, type Message, type Metadata, type Receipt, type State } from '@mida/client'
import type { Key } from './key.js'
import { isTopic, topicOf, type Line, type Threads } from './threads.js'

/** A server knows a repeat by its id for so long (PROTOCOL.md, messages between keys). */
const REPEAT_MS = 9 * 60_000
const ROUND_MS = 20_000
/** One's own message to a topic comes back within so long. Its id is the server's then: the body tells it. */
const ECHO_MS = 30_000

/** What the page is told. */
export interface Events {
  state(state: State, problem: Error | undefined): void
  metadata(metadata: Metadata): void
  /** Of the last question. */
  roundTrip(ms: number): void
  /** A conversation has changed; `line` is a message that is new in it. */
  changed(peer: string, line?: Line): void
  /** What may be done has changed. */
  rules(): void
  problem(text: string): void
}

/** The user's connection, and what it brings into the conversations. */
export class Talk {
  readonly #client: Client
  readonly #threads: Threads
  readonly #events: Events
  readonly #timer: number
  /** Whether a conversation is in view, so that nothing in it is unread. */
  isInView: (peer: string) => boolean = () => false

  constructor(key: Key, threads: Threads, events: Events) {
    this.#threads = threads
    this.#events = events
    const { protocol, host } = location
    this.#client = new Client(`${protocol === 'https:' ? 'wss' : 'ws'}://${host}/`, {
      secret: key.secret,
      onMessage: (message) => this.#take(message),
      onMetadata: (metadata) => events.metadata(metadata),
      onRules: () => events.rules(),
      onState: (state, problem) => {
        // The first of them comes before there is a client.
        queueMicrotask(() => events.state(state, problem))
        if (state === 'open') queueMicrotask(() => void this.#ask())
      },
      onError: (error) => events.problem(error instanceof Error ? error.message : String(error)),
    })
    this.#timer = window.setInterval(() => {
      if (this.#client.state === 'open' && !document.hidden) void this.#ask()
    }, ROUND_MS)
    for (const { peer, lines } of threads.all()) {
      if (isTopic(peer)) this.join(peer)
      for (const line of lines) if (line.fate === 'sending') this.#resume(peer, line)
    }
  }

  /** Whether the server takes messages to keys, or to topics. */
  offers(peer: string): boolean {
    return this.#client.offers(isTopic(peer) ? 'publish' : 'send')
  }

  /** Sends, and keeps what becomes of it. @throws if the browser keeps no more. */
  say(peer: string, body: Json): void {
    const id = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
    const line: Line = { id, ts: Date.now(), body, fate: 'sending' }
    this.#threads.add(peer, line, false)
    this.#events.changed(peer, line)
    void this.#send(peer, line)
  }

  /** Once more, as a message of its own. */
  again(peer: string, { id, body }: Line): void {
    this.#threads.change(peer, (thread) => (thread.lines = thread.lines.filter((line) => line.id !== id)))
    this.say(peer, body)
  }

  join(peer: string): void {
    this.#client.join(topicOf(peer)).catch((error: Error) => this.#events.problem(`${peer}: ${error.message}`))
  }

  leave(peer: string): void {
    void this.#client.leave(topicOf(peer)).catch(() => {})
  }

  close(): void {
    clearInterval(this.#timer)
    this.#client.close()
  }

  /** Acked when this has returned. If the browser keeps no more it throws, and the message stays with the server. */
  #take({ id, from, topic, ts, body }: Message): void {
    const peer = topic === undefined ? (from ?? 'operator') : `#${topic}`
    // One's own, back from the topic: it is there since it was sent.
    if (topic !== undefined && from === this.#client.identity && this.#isEcho(peer, body)) return
    const line: Line = { id, ts, body, ...(topic !== undefined && from !== undefined && { from }) }
    if (this.#threads.add(peer, line, !this.isInView(peer))) this.#events.changed(peer, line)
  }

  #isEcho(peer: string, body: Json): boolean {
    const text = JSON.stringify(body)
    const isRecent = ({ ts }: Line): boolean => Date.now() - ts < ECHO_MS
    return this.#threads.open(peer).lines.some((line) => line.fate && isRecent(line) && JSON.stringify(line.body) === text)
  }

  #resume(peer: string, line: Line): void {
    if (isTopic(peer) || Date.now() - line.ts > REPEAT_MS) this.#settle(peer, line.id, 'unsure')
    else void this.#send(peer, line)
  }

  async #send(peer: string, { id, body }: Line): Promise<void> {
    try {
      const sent = isTopic(peer) ? this.#client.publish(topicOf(peer), body, { id }) : this.#client.send(peer, body, { id })
      const { state }: Receipt = await sent
      this.#settle(peer, id, state === 'stored' ? 'stored' : 'delivered')
    } catch (error) {
      if (error instanceof RefusedError) this.#settle(peer, id, 'refused', error.code)
      else if (error instanceof UsageError || error instanceof NotOfferedError) this.#settle(peer, id, 'refused', error.message)
      // The connection ended for good: it goes out with the next one.
    }
  }

  #settle(peer: string, id: string, fate: NonNullable<Line['fate']>, code?: string): void {
    if (!this.#threads.get(peer)) return
    this.#threads.change(peer, (thread) => {
      const line = thread.lines.find((line) => line.id === id)
      if (line) Object.assign(line, { fate, ...(code !== undefined && { code }) })
    })
    this.#events.changed(peer)
  }

  async #ask(): Promise<void> {
    const start = performance.now()
    try {
      await this.#client.metadata()
      this.#events.roundTrip(performance.now() - start)
    } catch {
      // The state tells.
    }
  }
}
