import type { MidaError } from './errors.js'
import type { Data } from './events.js'

/** One message to the server, and who waits for what becomes of it. */
export interface Request {
  readonly t: number
  /** The whole message as JSON. */
  readonly text: string
  /** The client's id in it. */
  readonly id?: string
  /**
   * What tells that it was taken. `event`: an answer of its own. `receipt`: receipts, which the sender counts. `none`:
   * nothing but an answer to something sent later, since answers keep the order of the requests.
   */
  readonly proof: 'event' | 'receipt' | 'none'
  readonly done?: (data: Data) => void
  readonly failed?: (error: MidaError) => void
}

/** A request and its place. */
export interface Placed {
  readonly request: Request
  /** Its place among all requests of the connection. */
  readonly place: number
  /** The WebSocket message it went out in. */
  frame: number
}

/** Requests without a proof that are kept for a refusal; older ones were taken. */
const UNPROVEN_MAX = 64

/**
 * Matches answers to requests (PROTOCOL.md section 3.3): those that wait to be sent, and those that wait for an answer,
 * both in order.
 */
export class Requests {
  #places = 0
  #frames = 0
  #queue: Placed[] = []
  /** In the order in which they went out. */
  readonly #sent = new Set<Placed>()

  /** How many wait to be sent. */
  get queued(): number {
    return this.#queue.length
  }

  add(request: Request): void {
    this.#queue.push({ request, place: this.#places++, frame: 0 })
  }

  /** These were refused for now: they wait again, before all that came after them. */
  addAgain(refused: readonly Placed[]): void {
    if (refused.length > 0) this.#queue = [...refused, ...this.#queue].sort((a, b) => a.place - b.place)
  }

  /** Takes the oldest that wait to be sent; they wait for answers from now on. */
  take(max: number): Placed[] {
    const taken = this.#queue.splice(0, max)
    for (const placed of taken) this.#sent.add(placed)
    this.#dropUnproven()
    return taken
  }

  /** These went out together. */
  wentOut(together: readonly Placed[]): void {
    this.#frames += 1
    for (const placed of together) placed.frame = this.#frames
  }

  /** Event `t` of the client got its answer: the oldest such request. All unproven ones before it were taken. */
  answered(t: number, data: Data): void {
    const placed = this.#find((request) => request.t === t)
    if (!placed) return
    this.#prove(placed)
    placed.request.done?.(data)
  }

  /** An error named `re`, and `id` if the request had one: gives the request that it refuses, if there is one. */
  refused(re: number, id: string | undefined): Placed[] {
    const placed = this.#find((request) => request.t === re && (id === undefined || request.id === id))
    if (!placed) return []
    this.#prove(placed)
    return [placed]
  }

  /** An error named nothing: gives all that went out with the oldest request. */
  refusedFrame(): Placed[] {
    const [oldest] = this.#sent
    const together = [...this.#sent].filter(({ frame }) => frame === oldest?.frame)
    for (const placed of together) this.#sent.delete(placed)
    return together
  }

  /** A receipt came for this id; of a request that needs none it is the proof. */
  receipted(id: string): void {
    const placed = this.#find((request) => request.id === id)
    if (placed?.request.proof !== 'none') return
    this.#sent.delete(placed)
    placed.request.done?.({})
  }

  /** Nobody waits for it any more; if it was not sent, it never will be. */
  forget(id: string): void {
    this.#queue = this.#queue.filter(({ request }) => request.id !== id)
    const placed = this.#find((request) => request.id === id)
    if (placed) this.drop(placed)
  }

  /** It was taken to be sent and was not. */
  drop(placed: Placed): void {
    this.#sent.delete(placed)
  }

  /** All of them, which are forgotten. */
  clear(): Request[] {
    const all = [...this.#sent, ...this.#queue]
    this.#sent.clear()
    this.#queue = []
    return all.map(({ request }) => request)
  }

  #find(fits: (request: Request) => boolean): Placed | undefined {
    for (const placed of this.#sent) if (fits(placed.request)) return placed
    return undefined
  }

  /** Answers keep the order: what went out before it and has no answer of its own was taken. */
  #prove(answered: Placed): void {
    const proven: Placed[] = []
    for (const placed of this.#sent) {
      if (placed === answered) break
      if (placed.request.proof === 'none') proven.push(placed)
    }
    for (const placed of [...proven, answered]) this.#sent.delete(placed)
    for (const { request } of proven) request.done?.({})
  }

  #dropUnproven(): void {
    const unproven = [...this.#sent].filter(({ request }) => request.proof === 'none' && !request.done)
    for (const placed of unproven.slice(0, -UNPROVEN_MAX)) this.#sent.delete(placed)
  }
}
