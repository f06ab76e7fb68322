/**
 * A client for Mida, messaging without passwords: a user is a secp256k1 key. Section numbers in these docs are those of the
 * protocol's page, PROTOCOL.md.
 *
 * @packageDocumentation
 */
export { Client, connect } from './client.js'
export {
  AttackError,
  ClosedError,
  LoginError,
  MidaError,
  NotOfferedError,
  ProtocolError,
  RefusedError,
  UsageError,
  type Fault,
  type Retry,
} from './errors.js'
export type { Json, Message, Metadata, Receipt, Rules, User } from './events.js'
export type { Options, SendOptions, State } from './options.js'
export type { MessageHandler } from './mailbox.js'
export type { Environment } from './environment.js'
export type { Socket, SocketClass } from './socket/socket.js'
export type { MakeCipher, SessionCipher } from './cipher/cipher.js'
export { generateSecret, identityOf, signChallenge, type Secret } from './key.js'
export { Opener } from './opener.js'
