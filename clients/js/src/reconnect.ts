import { ClosedError, type Fault } from './errors.js'

/** What a close code asks of a client (PROTOCOL.md section 10). */
interface Advice {
  /** `again`: reconnect. `backoff`: the same, with growing delays. `stop`: it would end the same way. */
  readonly then: 'again' | 'backoff' | 'stop'
  readonly fault: Fault
  /** Wait at least so long. */
  readonly minMs?: number
}

const STOP: Advice = { then: 'stop', fault: 'caller' }
const CODES: Record<number, Advice> = {
  1000: { then: 'again', fault: 'server' },
  1001: { then: 'again', fault: 'server' },
  1002: STOP,
  1003: STOP,
  1005: { then: 'again', fault: 'network' },
  1006: { then: 'again', fault: 'network' },
  1007: STOP,
  1008: STOP,
  1009: STOP,
  1011: { then: 'backoff', fault: 'server' },
  1013: { then: 'backoff', fault: 'server' },
  4000: STOP,
  4003: STOP,
  // Only with a key: the client decides that.
  4004: { then: 'again', fault: 'caller' },
  4008: { then: 'again', fault: 'network' },
  4009: { then: 'again', fault: 'caller' },
  4010: { then: 'backoff', fault: 'caller', minMs: 10_000 },
}
const UNKNOWN: Advice = { then: 'backoff', fault: 'server' }

/** What to do after a connection closed with this code. */
export function adviceFor(code: number): Advice {
  return CODES[code] ?? UNKNOWN
}

/** A connection's end as an error that says whose fault it is. */
export function closedWith(code: number, reason: string): ClosedError {
  return new ClosedError(code, reason, adviceFor(code).fault)
}

const DELAY_MS = 1_000
const DELAY_MAX_MS = 60_000

/** Full jitter: each delay is uniform in [0, min(60 s, 1 s · 2^n)], n counting attempts since the last success. */
export class Backoff {
  readonly #random: () => number
  #attempts = 0

  constructor(random: () => number) {
    this.#random = random
  }

  /**
   * The delay before the next attempt, in ms.
   *
   * @param succeeded - Whether the connection that ended had logged in.
   */
  next(code: number, succeeded: boolean): number {
    const { then, minMs = 0 } = adviceFor(code)
    if (succeeded && then !== 'backoff') this.#attempts = 0
    const range = Math.min(DELAY_MAX_MS, DELAY_MS * 2 ** this.#attempts)
    this.#attempts += 1
    return minMs + this.#random() * range
  }
}
