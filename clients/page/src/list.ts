import { byId, make } from './dom.js'
import { short, shown } from './text.js'
import { isTopic, type Thread, type Threads } from './threads.js'

/** What a conversation is called. */
export function nameOf({ peer, nick }: Thread, own: string): string {
  if (nick) return nick
  if (peer === own) return 'You'
  return isTopic(peer) || peer === 'operator' ? peer : short(peer)
}

/** The list of all conversations. */
export class List {
  readonly #own: string
  readonly #threads: Threads
  readonly #choose: (peer: string) => void

  constructor(own: string, threads: Threads, choose: (peer: string) => void) {
    this.#own = own
    this.#threads = threads
    this.#choose = choose
    const face = make('span', 'face')
    face.ariaHidden = 'true'
    this.paint(face, own, '')
    byId('own').replaceChildren(face, make('span', '', make('b', '', 'Your key'), make('small', 'key-line', short(own))))
  }

  /** Draws it anew; `current` is the one in view. The focus stays where it was. */
  draw(current: string | undefined): void {
    const threads = this.#threads.all()
    const list = byId('threads')
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset['peer'] : undefined
    list.replaceChildren(...threads.map((thread) => this.#item(thread, thread.peer === current)))
    byId('no-threads').hidden = threads.length > 0
    if (focused !== undefined) this.focus(focused)
  }

  focus(peer: string | undefined): void {
    const items = [...byId('threads').querySelectorAll<HTMLElement>('.item')]
    const item = items.find(({ dataset }) => dataset['peer'] === peer)
    ;(item ?? byId('new')).focus()
  }

  /** A colour and two letters, so that an eye finds it again. */
  paint(face: HTMLElement, peer: string, nick: string): void {
    const seed = [...peer].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) >>> 0, 7)
    face.style.setProperty('--hue', String(seed % 360))
    face.textContent = nick ? [...nick].slice(0, 2).join('').toUpperCase() : isTopic(peer) ? '#' : peer.slice(2, 4).toUpperCase()
  }

  #item(thread: Thread, isCurrent: boolean): HTMLElement {
    const face = make('span', 'face')
    face.ariaHidden = 'true'
    this.paint(face, thread.peer, thread.nick)
    const last = thread.lines.at(-1)
    const preview = last ? (last.fate ? 'You: ' : '') + shown(last.body).text.slice(0, 80) : 'No messages yet'
    const name = make('b', '', nameOf(thread, this.#own))
    const button = make('button', 'item', face, make('span', '', name, make('small', '', preview)))
    button.setAttribute('type', 'button')
    button.dataset['peer'] = thread.peer
    if (isCurrent) button.setAttribute('aria-current', 'true')
    if (thread.unread > 0) {
      button.append(make('span', 'badge', String(thread.unread), make('span', 'unseen', ' unread')))
    }
    button.addEventListener('click', () => this.#choose(thread.peer))
    return make('li', '', button)
  }
}
