import { byId, icon, make } from './dom.js'
import { dayOf, reason, short, shown, timeOf } from './text.js'
import { isTopic, type Fate, type Line } from './threads.js'

const FATES: Record<Fate, (isTopic: boolean) => string> = {
  sending: () => 'Sending…',
  stored: () => 'In their mailbox',
  delivered: (isTopic) => (isTopic ? 'Published' : 'Delivered'),
  refused: () => 'Not sent',
  unsure: () => 'Perhaps not sent',
}

/** The messages of the conversation in view. */
export class Log {
  readonly #again: (line: Line) => void
  readonly #place = byId('log')

  constructor(again: (line: Line) => void) {
    this.#again = again
  }

  /** Draws them; if only `added` is new, only that, so that a screen reader reads no more. */
  draw(peer: string, lines: readonly Line[], added?: Line): void {
    const isAtEnd = this.#place.scrollHeight - this.#place.scrollTop - this.#place.clientHeight < 80
    const isSame = this.#place.dataset['peer'] === peer
    if (isSame && added && lines.at(-1)?.id === added.id) {
      this.#append(peer, lines.at(-2), added)
    } else if (isSame && !added && this.#update(peer, lines)) {
      return
    } else {
      this.#place.dataset['peer'] = peer
      // Not read aloud whole: only what comes from now on is news.
      this.#place.ariaLive = 'off'
      this.#place.replaceChildren()
      lines.forEach((line, at) => this.#append(peer, lines[at - 1], line))
      requestAnimationFrame(() => (this.#place.ariaLive = 'polite'))
    }
    if (isAtEnd || !isSame || added?.fate) this.#place.scrollTop = this.#place.scrollHeight
  }

  #append(peer: string, before: Line | undefined, line: Line): void {
    if (!before || dayOf(before.ts) !== dayOf(line.ts)) this.#place.append(make('p', 'day', dayOf(line.ts)))
    this.#place.append(this.#line(peer, line))
  }

  /** Only what became of messages has changed: says whether that was all. */
  #update(peer: string, lines: readonly Line[]): boolean {
    const drawn = new Map([...this.#place.querySelectorAll<HTMLElement>('.line')].map((it) => [it.dataset['id'], it]))
    if (drawn.size !== lines.length || !lines.every(({ id }) => drawn.has(id))) return false
    for (const line of lines) {
      const element = drawn.get(line.id)
      if (element && element.dataset['fate'] !== (line.fate ?? '')) element.replaceWith(this.#line(peer, line))
    }
    return true
  }

  #line(peer: string, line: Line): HTMLElement {
    const { text, isJson } = shown(line.body)
    const element = make('div', line.fate ? 'line mine' : 'line')
    element.dataset['id'] = line.id
    element.dataset['fate'] = line.fate ?? ''
    if (line.from) {
      const from = make('div', 'from', short(line.from))
      from.title = line.from
      element.append(from)
    }
    const body = make('div', isJson ? 'body json' : 'body', text)
    body.dir = 'auto'
    const meta = make('div', 'meta', timeOf(line.ts))
    if (line.fate) this.#tell(meta, peer, line, line.fate)
    else {
      const mark = make('span', 'unseen', 'sealed to you')
      meta.append(icon('lock'), mark)
      meta.title = 'Came sealed to your key, and was opened here.'
    }
    element.append(body, meta)
    return element
  }

  #tell(meta: HTMLElement, peer: string, line: Line, fate: Fate): void {
    const why = line.code ? `: ${reason(line.code)}` : ''
    meta.append(' · ', FATES[fate](isTopic(peer)) + why)
    if (fate !== 'refused' && fate !== 'unsure') return
    meta.classList.add('bad')
    const button = make('button', '', 'Send again')
    button.setAttribute('type', 'button')
    button.addEventListener('click', () => this.#again(line))
    meta.append(button)
  }
}
