import { UsageError } from './errors.js'

/** The server takes 32 levels (PROTOCOL.md section 3.1), two of which are a batch's. */
const DEPTH_MAX = 30

/**
 * One message as JSON.
 *
 * @throws {@link UsageError} if no server would take it: a value that is no JSON, a lone surrogate, too deep nesting.
 */
export function encode(t: number, data: object): string {
  let text
  try {
    text = JSON.stringify({ t, data })
  } catch (cause) {
    throw new UsageError('what is to be sent is no JSON', { cause })
  }
  checkText(text)
  return text
}

/** Bytes of a text in UTF-8. */
export function byteLength(text: string): number {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    // A pair of surrogates is two units and four bytes.
    if (unit > 0x7f) bytes += unit > 0x7ff && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1
  }
  return bytes
}

/** Messages that go out together: one WebSocket message, and how many Mida messages it holds. */
export interface Frame {
  readonly text: string
  readonly count: number
}

/** Packs messages into as few WebSocket messages as the rules allow (PROTOCOL.md section 3.2), in order. */
export function pack(texts: readonly string[], batching: boolean, maxBatch: number, maxMessage: number): Frame[] {
  if (!batching) return texts.map((text) => ({ text, count: 1 }))
  const frames: Frame[] = []
  let batch: string[] = []
  let bytes = 0
  const finish = (): void => {
    const [single] = batch
    if (single === undefined) return
    const text = batch.length === 1 ? single : `{"count":${batch.length},"data":[${batch.join()}]}`
    frames.push({ text, count: batch.length })
    batch = []
    bytes = 0
  }
  for (const text of texts) {
    const more = byteLength(text) + 1
    // 40: what stands around the messages.
    if (batch.length === maxBatch || bytes + more + 40 > maxMessage) finish()
    batch.push(text)
    bytes += more
  }
  finish()
  return frames
}

function checkText(text: string): void {
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const char = text[i]
    if (inString) {
      if (char === '"') inString = false
      else if (char === '\\') {
        i += 1
        // JSON.stringify writes a surrogate as an escape only if it is alone.
        if (text[i] === 'u' && text[i + 1] === 'd') throw new UsageError('a string holds half a surrogate pair')
      }
    } else if (char === '"') inString = true
    else if (char === '}' || char === ']') depth -= 1
    else if ((char === '{' || char === '[') && ++depth > DEPTH_MAX) {
      throw new UsageError(`what is to be sent nests deeper than ${DEPTH_MAX} levels`)
    }
  }
}
