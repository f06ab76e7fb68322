/** Numbers of events (PROTOCOL.md sections 3.4 and 4). */
export const RULES = 0
export const METADATA = 1
export const AUTH = 2
export const CHALLENGE = 3
export const SOLUTION = 4
export const RESULT = 5
export const ERROR = 0x80
export const SEND = 0x81
export const MESSAGE = 0x82
export const RECEIPT = 0x83
export const ACK = 0x84
export const JOIN = 0x85
export const LEAVE = 0x86
export const PUBLISH = 0x87

/** Any JSON value. Integers beyond 2^53 lose digits in JavaScript: send those as strings. */
export type Json = null | boolean | number | string | Json[] | { [member: string]: Json }

/** An object as it arrived: nothing is known of its members yet. */
export type Data = Record<string, unknown>

/** One event of the server. */
export interface Event {
  readonly t: number
  readonly data: Data
}

/** Event 0: what holds for this connection (PROTOCOL.md section 4.0). */
export interface Rules {
  /** Heartbeat period. */
  readonly hbMs: number
  /** What this connection may ask for. */
  readonly perms: readonly string[]
  readonly batching: boolean
  readonly auth: string
  /** 0: a login is never required. */
  readonly authWithinMs: number
  /** Bytes of the largest message that may be sent. */
  readonly maxMessage: number
  /** Messages in the largest batch. */
  readonly maxBatch: number
  /** Extensions: `msg` is messages between keys. */
  readonly ext: readonly string[]
}

/** Event 1: the server's public state (PROTOCOL.md section 4.1), with the operator's own fields as they came. */
export interface Metadata {
  readonly name: string
  /** Connections with a proven key. */
  readonly online: number
  /** Time since the server started, in ms. */
  readonly uptime: number
  /** Time until maintenance, in ms; absent if none is announced. */
  readonly maintenanceIn?: number
  readonly note?: string
  readonly [field: string]: unknown
}

/** `user` of event 5 (PROTOCOL.md section 4.5). */
export interface User {
  readonly displayName: string
  readonly unreadMessages: number
}

/** Event 0x82: a message from another key, the operator, or a topic. */
export interface Message {
  /** The server's id; ids sort by time. */
  readonly id: string
  /** The sender's identity; absent: the operator. */
  readonly from?: string
  /** The topic it was published to; absent: it was sent to this key. */
  readonly topic?: string
  /** Unix time in ms. */
  readonly ts: number
  readonly body: Json
}

/** Event 0x83: what became of a message for one recipient. */
export interface Receipt {
  /** The recipient's identity; the topic of a publish. */
  readonly to?: string
  /** The server's id of the message; absent if it was refused. */
  readonly id?: string
  /** `stored`, `delivered` or `refused`. */
  readonly state: string
  /** Why it was refused, like `mailbox_full` or `offline`. */
  readonly code?: string
}
