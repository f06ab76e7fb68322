import { UsageError } from '../errors.js'
import type { SocketClass } from './socket.js'

/** Node's own `WebSocket` (22 and newer), or that of the package `ws`. */
export async function socketClass(): Promise<SocketClass> {
  const { WebSocket } = globalThis as { WebSocket?: SocketClass }
  if (WebSocket) return WebSocket
  try {
    const { WebSocket } = await import('ws')
    return WebSocket as unknown as SocketClass
  } catch (cause) {
    throw new UsageError('this Node has no WebSocket: npm install ws, or use Node 22', { cause })
  }
}
