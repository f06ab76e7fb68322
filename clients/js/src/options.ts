import type { Environment } from './environment.js'
import type { Metadata, Rules } from './events.js'
import type { Secret } from './key.js'
import type { MessageHandler } from './mailbox.js'

/** `connecting`: dialling or logging in. `open`: requests go out. `waiting`: until the next attempt. `closed`: for good. */
export type State = 'connecting' | 'open' | 'waiting' | 'closed'

/** What a {@link Client} is made with. All of it is optional. */
export interface Options {
  /** The user's secret key. Without one the client stays anonymous, and can ask for metadata only. */
  readonly secret?: Secret
  /** `signup` refuses a known key, `login` an unknown one; absent: an account is made if there is none. */
  readonly method?: 'signup' | 'login'
  /** What a new account is to say of itself: up to 64 and 1,024 characters. */
  readonly user?: { readonly displayName?: string; readonly bio?: string }
  /**
   * Takes messages to this key, and those of topics without a handler of their own. A message to this key is acked when
   * this has returned, or its promise is fulfilled: the server then forgets it. If it throws, the message comes again
   * with the next connection. Without it all messages stay with the server.
   */
  readonly onMessage?: MessageHandler
  /** Takes the server's metadata, asked for or not. */
  readonly onMetadata?: (metadata: Metadata) => void
  /** Takes the rules of each login and later ones. */
  readonly onRules?: (rules: Rules) => void
  /** Told of each change, with the reason if it is an end. */
  readonly onState?: (state: State, reason?: Error) => void
  /** Takes errors that no call waits for, and what handlers throw. Absent: `console.warn`. */
  readonly onError?: (error: unknown) => void
  /** False: the first end of a connection is the last. Default: true. */
  readonly reconnect?: boolean
  /** Messages that may wait for their receipts; over it, calls fail. Default: 1,000. */
  readonly maxUnreceipted?: number
  /** Closes the client. */
  readonly signal?: AbortSignal
  /** Clock, timers, randomness and the class of sockets, where they are not to be the real ones. */
  readonly environment?: Partial<Environment>
}

/** How to send one message. */
export interface SendOptions {
  /** The client's id, 1 to 64 bytes; absent: a random one. The same id and content counts once. */
  readonly id?: string
  /** True: only for who is there now, never stored. Default: false. */
  readonly live?: boolean
  /** Gives up waiting for the receipt. The message may have arrived. */
  readonly signal?: AbortSignal
}
