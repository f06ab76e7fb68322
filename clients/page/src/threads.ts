import type { Json } from '@mida/client'

/**
 * What became of a message of one's own. `unsure`: the page was closed before it was told, too long ago for the server to
 * know a repeat.
 */
export type Fate = 'sending' | 'stored' | 'delivered' | 'refused' | 'unsure'

/** One message of a conversation. */
export interface Line {
  /** The server's, or for a message of one's own this client's. */
  readonly id: string
  readonly ts: number
  readonly body: Json
  /** Who published it, in a topic. */
  readonly from?: string
  /** Only of one's own. */
  fate?: Fate
  code?: string
}

/** A conversation with a key or in a topic. */
export interface Thread {
  /** The key, or `#` and the topic. */
  readonly peer: string
  nick: string
  unread: number
  /** Unix ms. */
  changed: number
  lines: Line[]
}

/** The server forgets a message once it is acked: then these are all there is. */
const LINES_MAX = 500

export const isTopic = (peer: string): boolean => peer.startsWith('#')
export const topicOf = (peer: string): string => peer.slice(1)

/** Conversations of one identity, in the browser's storage. Other tabs of it share them, so nothing is held here. */
export class Threads {
  readonly #prefix: string

  constructor(identity: string) {
    this.#prefix = `mida:${identity}:`
  }

  /** The newest first. */
  all(): Thread[] {
    const peers = Object.keys(localStorage).filter((place) => place.startsWith(this.#prefix))
    const threads = peers.map((place) => this.get(place.slice(this.#prefix.length)))
    return threads.filter((thread) => thread !== undefined).sort((a, b) => b.changed - a.changed)
  }

  get(peer: string): Thread | undefined {
    const text = localStorage.getItem(this.#prefix + peer)
    return text === null ? undefined : (JSON.parse(text) as Thread)
  }

  /** Starts one, if there is none. */
  open(peer: string): Thread {
    return this.get(peer) ?? this.#put({ peer, nick: '', unread: 0, changed: Date.now(), lines: [] })
  }

  /** Changes one. @throws if the browser keeps no more: nothing has changed then. */
  change(peer: string, how: (thread: Thread) => void): Thread {
    const thread = this.open(peer)
    how(thread)
    return this.#put(thread)
  }

  /** Adds a message; says whether it is new. @throws as {@link Threads.change}. */
  add(peer: string, line: Line, isUnread: boolean): boolean {
    const thread = this.open(peer)
    if (thread.lines.some(({ id }) => id === line.id)) return false
    thread.lines = [...thread.lines, line].slice(-LINES_MAX)
    thread.changed = Date.now()
    thread.unread += isUnread ? 1 : 0
    this.#put(thread)
    return true
  }

  drop(peer: string): void {
    localStorage.removeItem(this.#prefix + peer)
  }

  /** Whether a change in another tab is about these. */
  isPlace(place: string | null): boolean {
    return place === null || place.startsWith(this.#prefix)
  }

  #put(thread: Thread): Thread {
    localStorage.setItem(this.#prefix + thread.peer, JSON.stringify(thread))
    return thread
  }
}
