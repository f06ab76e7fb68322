import { UsageError } from '../errors.js'
import type { SocketClass } from './socket.js'

/** The browser's `WebSocket`. */
export async function socketClass(): Promise<SocketClass> {
  const { WebSocket } = globalThis as { WebSocket?: SocketClass }
  if (!WebSocket) throw new UsageError('there is no WebSocket here: give one as the option WebSocket')
  return WebSocket
}
