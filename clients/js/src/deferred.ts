/** A promise and what settles it. */
export class Deferred<T> {
  readonly promise: Promise<T>
  resolve!: (value: T) => void
  reject!: (error: Error) => void

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    // Whoever waits is told; that nobody waits is no error.
    this.promise.catch(() => {})
  }
}
