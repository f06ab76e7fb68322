import type { Metadata, State } from '@mida/client'
import { Dialogs } from './dialogs.js'
import { byId, confirmCopied, copy } from './dom.js'
import { forget, type Key } from './key.js'
import { List, nameOf } from './list.js'
import { Log } from './log.js'
import { Talk } from './talk.js'
import { span } from './text.js'
import { isTopic, Threads, type Line } from './threads.js'

const STATES: Record<State, string> = {
  connecting: 'Connecting…',
  open: 'Sealed',
  waiting: 'Offline',
  closed: 'Stopped',
}

/** The conversations of one key. */
export class Chat {
  readonly #key: Key
  readonly #threads: Threads
  readonly #list: List
  readonly #log: Log
  readonly #dialogs: Dialogs
  readonly #text = byId<HTMLTextAreaElement>('text')
  #talk: Talk
  #state: State = 'connecting'
  #peer: string | undefined

  constructor(key: Key) {
    this.#key = key
    this.#threads = new Threads(key.identity)
    this.#list = new List(key.identity, this.#threads, (peer) => this.#show(peer))
    this.#talk = this.#connect()
    this.#log = new Log((line) => this.#peer !== undefined && this.#talk.again(this.#peer, line))
    this.#dialogs = new Dialogs(key, {
      start: (peer) => this.#start(peer),
      rename: (nick) => this.#rename(nick),
      drop: () => this.#drop(),
      forget: () => this.#forget(),
    })
  }

  start(): void {
    byId('own').addEventListener('click', () => this.#dialogs.own())
    byId('new').addEventListener('click', () => this.#dialogs.startNew())
    byId('edit').addEventListener('click', () => this.#dialogs.edit(this.#threads.get(this.#peer ?? '')?.nick ?? ''))
    byId('back').addEventListener('click', () => this.#show(undefined))
    byId('copy-peer').addEventListener('click', ({ currentTarget }) => {
      void copy(this.#peer ?? '').then(() => confirmCopied(currentTarget as HTMLElement))
    })
    byId('banner').querySelector('button')?.addEventListener('click', () => this.#reconnect())
    byId('write').addEventListener('submit', (event) => {
      event.preventDefault()
      this.#send()
    })
    this.#text.addEventListener('keydown', (event) => {
      // An Enter that ends the input of a character is no wish to send.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
      event.preventDefault()
      this.#send()
    })
    document.addEventListener('visibilitychange', () => this.#seen())
    window.addEventListener('storage', ({ key }) => {
      if (!this.#threads.isPlace(key)) return
      this.#list.draw(this.#peer)
      if (this.#peer !== undefined) this.#log.draw(this.#peer, this.#threads.get(this.#peer)?.lines ?? [])
    })
    this.#list.draw(this.#peer)
    this.#title()
  }

  #connect(): Talk {
    const talk = new Talk(this.#key, this.#threads, {
      state: (state, problem) => this.#enter(state, problem),
      metadata: (metadata) => this.#describe(metadata),
      // No part of what is read aloud: it comes again and again.
      roundTrip: (ms) => (byId('round-trip').textContent = `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`),
      changed: (peer, line) => this.#changed(peer, line),
      rules: () => this.#allow(),
      problem: (text) => this.#warn(text, false),
    })
    talk.isInView = (peer) => peer === this.#peer && !document.hidden
    return talk
  }

  #reconnect(): void {
    this.#talk.close()
    this.#warn('', false)
    this.#talk = this.#connect()
  }

  #enter(state: State, problem: Error | undefined): void {
    this.#state = state
    this.#tell(state)
    if (state === 'open') this.#warn('', false)
    else if (state === 'waiting') this.#warn('The server cannot be reached. This page goes on trying; what you write is sent then.', true)
    else if (problem) this.#warn(problem.message, true)
    this.#allow()
  }

  #tell(state: State): void {
    const place = byId('state')
    place.dataset['is'] = state
    place.title = state === 'open' ? 'What the server says is sealed to your key, and opened here.' : ''
    byId('sealed').toggleAttribute('hidden', state !== 'open')
    byId('state-name').textContent = STATES[state]
    byId('round-trip').textContent = ''
  }

  #warn(text: string, canRetry: boolean): void {
    const banner = byId('banner')
    banner.hidden = text === ''
    const [span, button] = banner.children
    if (span) span.textContent = text
    if (button instanceof HTMLElement) button.hidden = !canRetry
  }

  #describe({ name, online, uptime, note, maintenanceIn }: Metadata): void {
    byId('name').textContent = name
    const facts = [`${online} online`, `up ${span(uptime)}`]
    if (maintenanceIn !== undefined) facts.unshift(`maintenance in ${span(maintenanceIn)}`)
    if (note) facts.unshift(note)
    byId('facts').textContent = facts.join(' · ')
    byId('facts').title = facts.join('\n')
  }

  /** The composer, as the server's rules are. */
  #allow(): void {
    const mayNot = this.#peer !== undefined && this.#state === 'open' && !this.#talk.offers(this.#peer)
    this.#text.disabled = mayNot || this.#peer === 'operator'
    this.#text.placeholder = mayNot ? 'This server does not let you write here' : 'Message'
  }

  #changed(peer: string, line: Line | undefined): void {
    if (peer === this.#peer) {
      this.#log.draw(peer, this.#threads.get(peer)?.lines ?? [], line)
      this.#seen()
    }
    this.#list.draw(this.#peer)
    this.#title()
  }

  #seen(): void {
    if (this.#peer === undefined || document.hidden || !this.#threads.get(this.#peer)?.unread) return
    this.#threads.change(this.#peer, (thread) => (thread.unread = 0))
    this.#list.draw(this.#peer)
    this.#title()
  }

  #title(): void {
    const unread = this.#threads.all().reduce((sum, thread) => sum + thread.unread, 0)
    document.title = unread > 0 ? `(${unread}) mida` : 'mida'
  }

  #show(peer: string | undefined): void {
    const before = this.#peer
    this.#peer = peer
    byId('chat').classList.toggle('reading', peer !== undefined)
    byId('nobody').hidden = peer !== undefined
    byId('somebody').hidden = peer === undefined
    this.#list.draw(peer)
    if (peer === undefined) return this.#list.focus(before)
    const thread = this.#threads.open(peer)
    this.#list.paint(byId('face'), peer, thread.nick)
    byId('peer').textContent = nameOf(thread, this.#key.identity)
    byId('peer-key').textContent = isTopic(peer) ? 'Only for who is there now' : peer
    byId('peer-key').classList.toggle('digits', !isTopic(peer))
    byId('copy-peer').hidden = isTopic(peer) || peer === 'operator'
    this.#log.draw(peer, thread.lines)
    this.#allow()
    this.#seen()
    this.#text.focus()
  }

  #start(peer: string): void {
    this.#threads.open(peer)
    if (isTopic(peer)) this.#talk.join(peer)
    this.#show(peer)
  }

  #rename(nick: string): void {
    if (this.#peer === undefined) return
    this.#threads.change(this.#peer, (thread) => (thread.nick = nick))
    this.#show(this.#peer)
  }

  #drop(): void {
    const peer = this.#peer
    if (peer === undefined) return
    if (isTopic(peer)) this.#talk.leave(peer)
    this.#threads.drop(peer)
    this.#show(undefined)
    this.#title()
  }

  #forget(): void {
    this.#talk.close()
    for (const { peer } of this.#threads.all()) this.#threads.drop(peer)
    forget()
    location.reload()
  }

  #send(): void {
    const text = this.#text.value
    if (this.#peer === undefined || text.trim() === '' || this.#text.disabled) return
    try {
      this.#talk.say(this.#peer, text)
      this.#text.value = ''
    } catch {
      this.#warn('This browser keeps no more: delete a conversation first. Nothing was sent.', false)
    }
  }
}

