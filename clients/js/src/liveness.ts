import type { Environment } from './environment.js'

/** Below this period the questions themselves would use up the rate of messages. */
const SILENCE_MIN_MS = 1_000

/**
 * Tells a dead server from a silent one, for clients that see no Pings (PROTOCOL.md section 8): after 3 heartbeats of
 * silence it asks for something, and after 3 more without any message the server is dead.
 */
export class Liveness {
  readonly #environment: Environment
  readonly #ask: () => boolean
  readonly #dead: () => void
  #silenceMs = 0
  #heardAt = 0
  #askedAt: number | undefined
  #timer: unknown

  /**
   * Starts with {@link start}.
   *
   * @param ask - Says whether the question can go out now.
   */
  constructor(environment: Environment, ask: () => boolean, dead: () => void) {
    this.#environment = environment
    this.#ask = ask
    this.#dead = dead
  }

  /** Sets the heartbeat period of the rules, and starts. */
  start(hbMs: number): void {
    this.#silenceMs = Math.max(3 * hbMs, SILENCE_MIN_MS)
    this.#heardAt = this.#environment.now()
    this.#arm(this.#silenceMs)
  }

  /** Something arrived. */
  heard(): void {
    this.#heardAt = this.#environment.now()
    this.#askedAt = undefined
  }

  stop(): void {
    this.#environment.clearTimeout(this.#timer)
  }

  #arm(ms: number): void {
    this.stop()
    this.#timer = this.#environment.setTimeout(() => this.#look(), ms)
  }

  #look(): void {
    const now = this.#environment.now()
    const rest = (this.#askedAt ?? this.#heardAt) + this.#silenceMs - now
    // Timers may come a little early.
    if (rest > 1) return this.#arm(rest)
    if (this.#askedAt !== undefined) return this.#dead()
    this.#arm(this.#silenceMs)
    if (this.#ask()) this.#askedAt = now
    else this.#heardAt = now
  }
}
