import { Deferred } from './deferred.js'
import type { MessageHandler } from './mailbox.js'

interface Topic {
  handler: MessageHandler | undefined
  /** Of the call that joined, until the server took it. */
  joining: Deferred<void> | undefined
}

/** The topics that a client wants to be in; a connection forgets them, so they are joined again on the next one. */
export class Topics {
  readonly #topics = new Map<string, Topic>()

  /** All that are to be joined. */
  names(): string[] {
    return [...this.#topics.keys()]
  }

  handler(name: string): MessageHandler | undefined {
    return this.#topics.get(name)?.handler
  }

  /** Wants a topic; the promise is fulfilled when the server took it. */
  add(name: string, handler: MessageHandler | undefined): Promise<void> {
    const topic = this.#topics.get(name)
    const joining = topic?.joining ?? new Deferred<void>()
    this.#topics.set(name, { handler: handler ?? topic?.handler, joining })
    return joining.promise
  }

  joined(name: string): void {
    const topic = this.#topics.get(name)
    topic?.joining?.resolve()
    if (topic) topic.joining = undefined
  }

  /** It is not wanted any more, or was refused: says whether a call waited for it. */
  remove(name: string, error: Error): boolean {
    const joining = this.#topics.get(name)?.joining
    this.#topics.delete(name)
    joining?.reject(error)
    return joining !== undefined
  }
}
