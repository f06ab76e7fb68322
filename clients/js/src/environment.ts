import type { SocketClass } from './socket/socket.js'

/** What a client takes from the world around it. Tests give their own. */
export interface Environment {
  /** A class like the WHATWG `WebSocket`. Absent: that of the browser or of Node, or the package `ws`. */
  readonly WebSocket?: SocketClass
  /** A timer; gives what `clearTimeout` takes. */
  readonly setTimeout: (run: () => void, ms: number) => unknown
  readonly clearTimeout: (timer: unknown) => void
  /** Monotonic, in ms. */
  readonly now: () => number
  /** Uniform in [0, 1); for delays alone. */
  readonly random: () => number
}

/** The real one. */
export const REAL: Environment = {
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as number),
  now: () => performance.now(),
  random: () => Math.random(),
}
