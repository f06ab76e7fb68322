import { ProtocolError, RefusedError, type Retry } from './errors.js'
import { type Data, type Json, type Message, type Metadata, type Receipt, type Rules, type User } from './events.js'

/** The version of PROTOCOL.md that this client knows. */
const VERSION = 1

/** @throws {@link ProtocolError} if it is no event 0 of this version. */
export function readRules(data: Data): Rules {
  if (data['v'] !== VERSION) {
    throw new ProtocolError(`the server speaks version ${JSON.stringify(data['v'])} of Mida, this client version ${VERSION}`)
  }
  return {
    hbMs: integer(data, 'hb', 100, 3_600_000),
    perms: strings(data, 'perms'),
    batching: boolean(data, 'batching'),
    auth: string(data, 'auth'),
    authWithinMs: integer(data, 'authWithin'),
    maxMessage: integer(data, 'maxMessage', 1),
    maxBatch: integer(data, 'maxBatch', 1),
    ext: strings(data, 'ext'),
  }
}

/** @throws {@link ProtocolError} if it is no event 1 of a server. */
export function readMetadata(data: Data): Metadata {
  string(data, 'name')
  integer(data, 'online')
  integer(data, 'uptime')
  if (data['maintenanceIn'] !== undefined) integer(data, 'maintenanceIn')
  if (data['note'] !== undefined) string(data, 'note')
  return data as Metadata
}

/** Event 3: what is to be signed. */
export interface Challenge {
  readonly challenge: string
  readonly schemes: readonly string[]
}

/** @throws {@link ProtocolError} if it is no event 3. */
export function readChallenge(data: Data): Challenge {
  const challenge = string(data, 'challenge')
  if (!/^[0-9a-f]{64}$/i.test(challenge)) throw new ProtocolError('a challenge is not 64 hex digits')
  integer(data, 'expiresIn')
  return { challenge, schemes: strings(data, 'schemes') }
}

/** Event 5. */
export type Result = { readonly passed: true; readonly user: User } | { readonly passed: false; readonly reason: string }

/** @throws {@link ProtocolError} if it is no event 5. */
export function readResult(data: Data): Result {
  if (!boolean(data, 'passed')) return { passed: false, reason: string(data, 'reason') }
  const user = data['user']
  if (!isObject(user)) throw wrong('user')
  // Some servers leave out a name that nobody gave.
  const displayName = user['displayName'] === undefined ? '' : string(user, 'displayName')
  return { passed: true, user: { displayName, unreadMessages: integer(user, 'unreadMessages') } }
}

/** @throws {@link ProtocolError} if it is no event 0x80. */
export function readError(data: Data): { readonly error: RefusedError; readonly id: string | undefined } {
  const re = data['re'] === null ? null : integer(data, 're')
  const retry = data['retry'] === 'now' || data['retry'] === 'backoff' ? data['retry'] : ('no' as Retry)
  const retryAfter = data['retryAfter'] === undefined ? undefined : integer(data, 'retryAfter')
  return {
    error: new RefusedError(string(data, 'code'), string(data, 'msg'), re, retry, retryAfter),
    id: optional(data, 'id'),
  }
}

/** @throws {@link ProtocolError} if it is no event 0x82. */
export function readMessage(data: Data): Message {
  const [from, topic, body] = [optional(data, 'from'), optional(data, 'topic'), data['body']]
  if (body === undefined) throw wrong('body')
  return {
    id: string(data, 'id'),
    ...(from !== undefined && { from }),
    ...(topic !== undefined && { topic }),
    ts: integer(data, 'ts'),
    body: body as Json,
  }
}

/** Gives the client's id that it answers, too. @throws {@link ProtocolError} if it is no event 0x83. */
export function readReceipt(data: Data): { readonly re: string; readonly receipt: Receipt } {
  const [to, id, code] = [optional(data, 'to'), optional(data, 'id'), optional(data, 'code')]
  const receipt = {
    ...(to !== undefined && { to }),
    ...(id !== undefined && { id }),
    state: string(data, 'state'),
    ...(code !== undefined && { code }),
  }
  return { re: string(data, 're'), receipt }
}

/** Whether it is a JSON object. */
export function isObject(value: unknown): value is Data {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function string(data: Data, member: string): string {
  const value = data[member]
  if (typeof value !== 'string') throw wrong(member)
  return value
}

function optional(data: Data, member: string): string | undefined {
  return data[member] === undefined ? undefined : string(data, member)
}

function boolean(data: Data, member: string): boolean {
  const value = data[member]
  if (typeof value !== 'boolean') throw wrong(member)
  return value
}

function integer(data: Data, member: string, min = 0, max = Number.MAX_SAFE_INTEGER): number {
  const value = data[member]
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) throw wrong(member)
  return value
}

function strings(data: Data, member: string): string[] {
  const value = data[member]
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) throw wrong(member)
  return value
}

function wrong(member: string): ProtocolError {
  return new ProtocolError(`an event's member ${member} is missing or of the wrong type`)
}
