/**
 * Who can mend it:
 * - `caller`: the program that uses this package, or the user of the key.
 * - `server`: the server or its operator.
 * - `network`: nobody; the line broke.
 * - `attacker`: somebody else may be speaking for the server.
 */
export type Fault = 'caller' | 'server' | 'network' | 'attacker'

/** What all errors of this package have in common: {@link MidaError.fault | whose fault} it is. */
export abstract class MidaError extends Error {
  abstract readonly fault: Fault

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
  }
}

/** An argument is wrong, or a call came at a wrong time. Nothing was sent. */
export class UsageError extends MidaError {
  readonly fault = 'caller'
}

/** The server's rules do not offer what was asked for (`ext` and `perms`, PROTOCOL.md section 4.0). Nothing was sent. */
export class NotOfferedError extends MidaError {
  readonly fault = 'server'
}

/** What arrived is no Mida of version 1. The connection is closed for good. */
export class ProtocolError extends MidaError {
  readonly fault = 'server'
}

/**
 * What arrived is nothing an honest server sends: a message in the clear after a sealed one, or one that does not
 * open. The connection is closed for good; trust nothing it said since.
 */
export class AttackError extends MidaError {
  readonly fault = 'attacker'
}

/** `retry` of event 128: whether the same request may be sent again. */
export type Retry = 'no' | 'now' | 'backoff'

const SERVER_CODES = new Set(['store_full', 'mailbox_full', 'offline'])

/** The server refused a request: event 128 (PROTOCOL.md section 9), or a receipt with the state `refused`. */
export class RefusedError extends MidaError {
  readonly fault: Fault

  constructor(
    /** Of the protocol, like `forbidden`. */
    readonly code: string,
    /** For people. */
    text: string,
    /** The number of the event that was refused; null if the server could not tell. */
    readonly re: number | null,
    readonly retry: Retry,
    /** Wait at least so long, if the server could tell. */
    readonly retryAfterMs?: number,
  ) {
    super(`the server refused ${re === null ? 'a message' : `event ${re}`}: ${code}: ${text}`)
    this.fault = SERVER_CODES.has(code) ? 'server' : 'caller'
  }
}

const ADVICE: Record<string, string> = {
  wrong_host: 'the server does not go by the host that was dialled: dial it by its own, or have its operator name this one',
  bad_signature: 'the signature was refused; behind a proxy the operator may have to name the host that was dialled',
  bad_scheme: 'the server does not take mida-v1, and this client signs nothing that can be relayed',
  expired: 'it took too long',
  blocked: 'the operator blocked this key',
  account_exists: 'this key has an account already: log in instead of signing up',
  no_account: 'this key has no account: sign up first',
}

/** The login failed: event 5 (PROTOCOL.md section 4.5). Only `expired` is tried again. */
export class LoginError extends MidaError {
  readonly fault: Fault

  constructor(
    /** Of the protocol, like `wrong_host`. */
    readonly reason: string,
  ) {
    super(`login failed: ${ADVICE[reason] ?? reason}`)
    this.fault = reason === 'expired' ? 'network' : 'caller'
  }
}

/** The connection ended. `code` is that of PROTOCOL.md section 10; 1006 if no close frame came. */
export class ClosedError extends MidaError {
  constructor(
    readonly code: number,
    /** A fixed phrase of the server, or what this side saw. */
    readonly reason: string,
    readonly fault: Fault,
  ) {
    super(`closed with ${code}${reason && `: ${reason}`}`)
  }
}
