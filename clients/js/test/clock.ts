import type { Environment } from '@mida/client'

interface Timer {
  readonly at: number
  readonly run: () => void
}

/** Time that passes only when a test says so. */
export class Clock {
  #now = 0
  #timers = new Set<Timer>()

  /** For a client: this clock, and delays that are the largest possible. */
  readonly environment: Partial<Environment> = {
    now: () => this.#now,
    random: () => 1,
    setTimeout: (run, ms) => {
      const timer = { at: this.#now + ms, run }
      this.#timers.add(timer)
      return timer
    },
    clearTimeout: (timer) => void this.#timers.delete(timer as Timer),
  }

  /** When each timer is due, from now. */
  get delays(): number[] {
    return [...this.#timers].map(({ at }) => at - this.#now).sort((a, b) => a - b)
  }

  /** Runs what is due in this time, in order. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)
      if (!next) break
      this.#timers.delete(next)
      this.#now = next.at
      next.run()
    }
    this.#now = end
  }
}
