import type { Json } from '@mida/client'

/** Enough digits to tell people apart, not to trust by: the whole key stands in each conversation. */
export function short(key: string): string {
  return `${key.slice(0, 8)}…${key.slice(-4)}`
}

/** A body as it is shown, and whether it is JSON. A string is text: `mida connect` and this page send those. */
export function shown(body: Json): { readonly text: string; readonly isJson: boolean } {
  if (typeof body === 'string') return { text: body, isJson: false }
  return { text: JSON.stringify(body, null, 2), isJson: true }
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const DAY = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' })

export const timeOf = (ms: number): string => TIME.format(ms)
export const dayOf = (ms: number): string => DAY.format(ms)

/** Milliseconds, in a unit that a person would use. */
export function span(ms: number): string {
  const minutes = Math.round(ms / 60_000)
  if (minutes < 1) return `${Math.round(ms / 1_000)} s`
  if (minutes < 120) return `${minutes} min`
  return minutes < 2_880 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1_440)} d`
}

const CODES: Record<string, string> = {
  offline: 'nobody is there now',
  mailbox_full: 'their mailbox is full until they read it',
  store_full: 'the server can keep no more now',
  bad_key: 'this is no key: no point on the curve',
  forbidden: 'the operator does not allow it',
  blocked: 'the operator does not allow it',
  rate_limited: 'too many at once',
  id_reused: 'the server took it for another message',
}

/** Why a message was refused, for people. */
export const reason = (code: string): string => CODES[code] ?? code
