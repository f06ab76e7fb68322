import { Deferred } from './deferred.js'
import { RefusedError, UsageError, type MidaError } from './errors.js'
import type { Receipt } from './events.js'

/** A message that is not receipted yet. */
export interface Unreceipted {
  readonly id: string
  readonly t: number
  /** The whole message as JSON. It stays the same, so that the server knows a repeat by its `id`. */
  readonly text: string
}

interface Entry extends Unreceipted {
  /** The identities that it goes to; empty for a topic, which gives one receipt. */
  readonly to: ReadonlySet<string>
  readonly receipts: Map<string, Receipt>
  readonly deferred: Deferred<Receipt[]>
}

/** What was sent and has no receipt yet. It outlives connections: all of it is sent again under its old id. */
export class Outbox {
  readonly #max: number
  readonly #entries = new Map<string, Entry>()

  /** @param max - Messages at once. */
  constructor(max: number) {
    this.#max = max
  }

  /**
   * Keeps a message until its receipts have come; gives them, one a recipient.
   *
   * @throws {@link UsageError} if it is full or the id is in it.
   */
  add(message: Unreceipted, to: Iterable<string>): Promise<Receipt[]> {
    if (this.#entries.has(message.id)) throw new UsageError('a message with this id waits for its receipts already')
    if (this.#entries.size >= this.#max) throw new UsageError(`${this.#max} messages wait for their receipts already`)
    const deferred = new Deferred<Receipt[]>()
    this.#entries.set(message.id, { ...message, to: new Set(to), receipts: new Map(), deferred })
    return deferred.promise
  }

  /** All of them, oldest first. */
  all(): Unreceipted[] {
    return [...this.#entries.values()]
  }

  /** A receipt came: says whether it was the last one of its message. */
  receipted(id: string, receipt: Receipt): boolean {
    const entry = this.#entries.get(id)
    if (!entry) return false
    const [only = ''] = entry.to
    const to = receipt.to ?? only
    if (entry.to.size > 0 && !entry.to.has(to)) return false
    // The first one counts: a repeat was sent to a recipient that has it.
    if (!entry.receipts.has(to)) entry.receipts.set(to, receipt)
    if (entry.receipts.size < entry.to.size) return false
    this.#entries.delete(id)
    entry.deferred.resolve([...entry.receipts.values()])
    return true
  }

  /** It will have no receipts. */
  fail(id: string, error: Error): void {
    this.#entries.get(id)?.deferred.reject(error)
    this.#entries.delete(id)
  }

  failAll(error: MidaError): void {
    for (const id of [...this.#entries.keys()]) this.fail(id, error)
  }
}

/** The receipt of a message that has one recipient. @throws {@link RefusedError} if it was refused. */
export function single(receipts: readonly Receipt[], t: number): Receipt {
  const [receipt] = receipts
  if (!receipt) throw new UsageError('a message without recipients')
  if (receipt.state !== 'refused') return receipt
  const { code = 'refused' } = receipt
  throw new RefusedError(code, 'see the code', t, code === 'store_full' ? 'backoff' : 'no')
}
