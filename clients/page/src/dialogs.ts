import { byId, confirmCopied, copy, make } from './dom.js'
import { exportFile, type Key } from './key.js'

/** What comes of the dialogs. */
export interface Wishes {
  start(peer: string): void
  rename(nick: string): void
  drop(): void
  forget(): void
}

const HINTS = {
  key: ['Public key', '66 hex digits that begin with 02 or 03. They have it under “Your key”; in a terminal, mida connect tells it.'],
  topic: ['Topic', 'Whoever names the same topic is in it. Nothing is kept for those who are not there.'],
} as const
const TOPIC_BYTES = 128

/** The three dialogs of page.html. */
export class Dialogs {
  readonly #key: Key
  readonly #wishes: Wishes
  readonly #new = byId<HTMLDialogElement>('new-dialog')
  readonly #edit = byId<HTMLDialogElement>('edit-dialog')
  readonly #own = byId<HTMLDialogElement>('own-dialog')
  readonly #with = byId<HTMLInputElement>('with')
  readonly #nick = byId<HTMLInputElement>('nick')

  constructor(key: Key, wishes: Wishes) {
    this.#key = key
    this.#wishes = wishes
    for (const dialog of [this.#new, this.#edit]) {
      dialog.querySelector('[value=cancel]')?.addEventListener('click', () => dialog.close())
    }
    this.#new.addEventListener('change', () => this.#hint())
    this.#new.addEventListener('submit', (event) => {
      event.preventDefault()
      this.#start()
    })
    this.#edit.addEventListener('submit', () => wishes.rename(this.#nick.value.trim()))
    byId('delete').addEventListener('click', () => {
      if (!confirm('Delete this conversation from this browser? There is no other copy of it here.')) return
      this.#edit.close()
      wishes.drop()
    })
    byId('own-key').textContent = key.identity
    byId('copy-own').addEventListener('click', ({ currentTarget }) => {
      void copy(key.identity).then(() => confirmCopied(currentTarget as HTMLElement))
    })
    byId('export').addEventListener('click', () => this.#export())
    byId('forget').addEventListener('click', () => {
      const sure = confirm('Forget the key and all conversations in this browser? Without a copy of the secret key nobody can be you again.')
      if (sure) wishes.forget()
    })
  }

  startNew(): void {
    this.#with.value = ''
    byId('with-problem').textContent = ''
    this.#hint()
    this.#new.showModal()
    this.#with.focus()
  }

  edit(nick: string): void {
    this.#nick.value = nick
    this.#edit.showModal()
    this.#nick.focus()
  }

  own(): void {
    byId('own-said').textContent = ''
    this.#own.showModal()
  }

  #kind(): 'key' | 'topic' {
    return this.#new.querySelector<HTMLInputElement>('[value=topic]')?.checked ? 'topic' : 'key'
  }

  #hint(): void {
    const [label, hint] = HINTS[this.#kind()]
    byId('with-label').textContent = label
    byId('with-hint').textContent = hint
  }

  #start(): void {
    const text = this.#with.value.trim()
    const problem = this.#kind() === 'key' ? keyProblem(text) : topicProblem(text)
    byId('with-problem').textContent = problem
    if (problem) return this.#with.focus()
    this.#new.close()
    this.#wishes.start(this.#kind() === 'key' ? text.toLowerCase() : `#${text}`)
  }

  #export(): void {
    const link = make('a') as HTMLAnchorElement
    link.href = URL.createObjectURL(exportFile(this.#key))
    link.download = `mida-${this.#key.identity.slice(0, 8)}.key`
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
    byId('own-said').textContent = `Saved as ${link.download}: whoever has this file is you.`
  }
}

function keyProblem(text: string): string {
  if (/^0[23][0-9a-f]{64}$/i.test(text)) return ''
  if (text === '') return 'Paste the public key of whom you want to write to.'
  if (/^[0-9a-f]{64}$/i.test(text)) return 'This looks like a secret key: never give it away. A public one begins with 02 or 03.'
  return `A public key is 66 hex digits that begin with 02 or 03; this has ${text.length} characters.`
}

function topicProblem(text: string): string {
  const bytes = new TextEncoder().encode(text).length
  return bytes >= 1 && bytes <= TOPIC_BYTES ? '' : 'A topic has 1 to 128 bytes.'
}
