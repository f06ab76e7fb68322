/** Values that are waited for, in order. */
export class Queue<T> {
  #values: T[] = []
  #waiting: ((value: T) => void)[] = []

  push(value: T): void {
    const waiting = this.#waiting.shift()
    if (waiting) waiting(value)
    else this.#values.push(value)
  }

  next(): Promise<T> {
    const [value] = this.#values.splice(0, 1)
    if (value !== undefined) return Promise.resolve(value)
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** What nobody has taken yet. */
  get rest(): readonly T[] {
    return this.#values
  }
}
