/** The part of the WHATWG `WebSocket` that this package uses. */
export interface Socket {
  binaryType: string
  readonly readyState: number
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  send(text: string): void
  close(code?: number, reason?: string): void
}

/** A class like the WHATWG `WebSocket`. */
export type SocketClass = new (url: string, protocols: string[]) => Socket
