import { Connection, type Listener, type Login } from './connection.js'
import { Deferred } from './deferred.js'
import { REAL, type Environment } from './environment.js'
import { ClosedError, LoginError, MidaError, NotOfferedError, RefusedError, UsageError } from './errors.js'
import * as events from './events.js'
import type { Event, Json, Message, Metadata, Receipt, Rules, User } from './events.js'
import { identityOf, newId, normalIdentity, secretBytes } from './key.js'
import { Mailbox, type MessageHandler } from './mailbox.js'
import { Opener } from './opener.js'
import type { Options, SendOptions, State } from './options.js'
import { byteLength, encode } from './outbound.js'
import { Outbox, single } from './outbox.js'
import { readMessage, readMetadata, readReceipt } from './read.js'
import { adviceFor, Backoff } from './reconnect.js'
import { socketClass } from '#socket'
import { Topics } from './topics.js'

const UNRECEIPTED_MAX = 1_000
const ID_BYTES = 64
const TOPIC_BYTES = 128
const RECIPIENTS_MAX = 64

/** Requests and the word in `perms` that allows each. */
const PERMS = { send: 'send', join: 'topic.join', publish: 'topic.publish' } as const

/**
 * A user's connection to a server: logs in, and after an end that can be mended connects again, joins its topics again and
 * sends again what has no receipt. Make it with {@link connect}.
 */
export class Client {
  /** This user: the 33-byte public key in lowercase hex; undefined for an anonymous client. */
  readonly identity: string | undefined
  readonly #url: string
  readonly #options: Options
  readonly #environment: Environment
  readonly #login: Login | undefined
  readonly #backoff: Backoff
  readonly #outbox: Outbox
  readonly #mailbox: Mailbox
  readonly #topics = new Topics()
  #connection: Connection | undefined
  #state: State = 'connecting'
  /** Settled by the next login, or by the end. */
  #opening = new Deferred<void>()
  #rules: Rules | undefined
  #user: User | undefined
  /** An account has been made or found: from then on it is logged in to. */
  #isKnown = false
  #timer: unknown

  /** Starts to connect. @throws {@link UsageError} if the URL or the secret is none. */
  constructor(url: string, options: Options = {}) {
    this.#url = checkedUrl(url)
    this.#options = options
    this.#environment = { ...REAL, ...options.environment }
    if (options.secret !== undefined) {
      const secret = secretBytes(options.secret)
      this.#login = { secret, identity: identityOf(secret), opener: new Opener(secret), wishes: {} }
      encode(events.AUTH, options.user ?? {})
    }
    this.identity = this.#login?.identity
    this.#backoff = new Backoff(this.#environment.random)
    this.#outbox = new Outbox(options.maxUnreceipted ?? UNRECEIPTED_MAX)
    this.#mailbox = new Mailbox(this.#environment, (ids) => this.#ack(ids), (error) => this.#report(error))
    options.signal?.addEventListener('abort', () => this.close(), { once: true })
    if (options.signal?.aborted) this.close()
    else void this.#dial()
  }

  get state(): State {
    return this.#state
  }

  /** The newest rules; undefined before the first ones. */
  get rules(): Rules | undefined {
    return this.#rules
  }

  /** What the server said of this user at the last login. */
  get user(): User | undefined {
    return this.#user
  }

  /** Whether the server's newest rules allow to send, join or publish. */
  offers(what: keyof typeof PERMS): boolean {
    return this.#rules !== undefined && this.#rules.ext.includes('msg') && this.#rules.perms.includes(PERMS[what])
  }

  /** Fulfilled once the client is open, now or by a later attempt; rejected when it is closed for good. */
  opened(): Promise<void> {
    return this.#opening.promise
  }

  /** Asks for the server's metadata. @throws {@link RefusedError}, {@link ClosedError} */
  async metadata(): Promise<Metadata> {
    // It may end again before whoever waited for it is told.
    do await this.opened()
    while (this.#state !== 'open')
    const answer = new Deferred<Metadata>()
    this.#connection?.ask({
      done: (data) => answer.resolve(readMetadata(data)),
      failed: (error) => answer.reject(error),
    })
    return answer.promise
  }

  /**
   * Sends a message to a key, or to up to 64 of them, and waits for the receipt, across connections if need be. Unless it is
   * `live`, the server keeps it until the recipient acked it.
   *
   * @returns What became of it: one receipt for one key, an array for an array. In an array each may be `refused`.
   * @throws {@link UsageError}, {@link NotOfferedError}, {@link RefusedError}, or why the client closed for good.
   */
  send(to: string, body: Json, options?: SendOptions): Promise<Receipt>
  send(to: readonly string[], body: Json, options?: SendOptions): Promise<Receipt[]>
  async send(to: string | readonly string[], body: Json, options: SendOptions = {}): Promise<Receipt | Receipt[]> {
    const { id = newId(), live = false } = options
    const keys = [...new Set((typeof to === 'string' ? [to] : to).map(normalIdentity))]
    if (keys.length < 1 || keys.length > RECIPIENTS_MAX) throw new UsageError('a message goes to 1 to 64 keys')
    const data = { id, to: typeof to === 'string' ? keys[0] : keys, body: checkedBody(body), ...(live && { live }) }
    const receipts = await this.#post(events.SEND, id, data, keys, options.signal)
    return typeof to === 'string' ? single(receipts, events.SEND) : receipts
  }

  /**
   * Publishes to all that are in a topic now; whoever publishes need not be in it, and gets its own message if it is.
   *
   * @throws As {@link Client.send}; {@link RefusedError} with the code `offline` if nobody is there.
   */
  async publish(topic: string, body: Json, options: Omit<SendOptions, 'live'> = {}): Promise<Receipt> {
    const { id = newId() } = options
    const data = { id, topic: checkedTopic(topic), body: checkedBody(body) }
    return single(await this.#post(events.PUBLISH, id, data, [], options.signal), events.PUBLISH)
  }

  /**
   * Joins a topic, and joins it again on each connection until {@link Client.leave}. Fulfilled when the server took it.
   *
   * @param onMessage - Takes its messages; absent: that of the options does.
   * @throws {@link UsageError}, {@link NotOfferedError}, {@link RefusedError}, or why the client closed for good.
   */
  async join(topic: string, onMessage?: MessageHandler): Promise<void> {
    const joined = this.#topics.add(checkedTopic(topic), onMessage)
    if (this.#state === 'closed') await this.opened()
    if (this.#state === 'open') this.#join(topic)
    await joined
  }

  /** Leaves a topic. Fulfilled when the server took it, at once if there is no connection. */
  async leave(topic: string): Promise<void> {
    this.#topics.remove(topic, new UsageError('the topic was left before it was joined'))
    if (this.#state !== 'open' || !this.offers('join')) return
    const left = new Deferred<void>()
    const id = newId()
    this.#connection?.request({
      t: events.LEAVE,
      text: encode(events.LEAVE, { topic: checkedTopic(topic), id }),
      id,
      proof: 'none',
      done: () => left.resolve(),
      // A connection that is gone has left all topics.
      failed: (error) => (error instanceof ClosedError ? left.resolve() : left.reject(error)),
    })
    await left.promise
  }

  /** Closes for good: acks go out still, and calls that wait fail with {@link ClosedError}. */
  close(): void {
    this.#mailbox.flush()
    const error = new ClosedError(1000, 'closed by this client', 'caller')
    const connection = this.#connection
    this.#finish(error)
    connection?.close(error)
  }

  async #dial(): Promise<void> {
    this.#enter('connecting')
    try {
      const WebSocket = this.#environment.WebSocket ?? (await socketClass())
      if (this.#state === 'closed') return
      const { user, method } = this.#options
      const wishes = { ...(user && { user }), ...((method || this.#isKnown) && { method: this.#isKnown ? 'login' : method }) }
      const login = this.#login && { ...this.#login, wishes }
      this.#connection = new Connection(this.#url, WebSocket, login, this.#listener(), this.#environment)
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      this.#finish(cause instanceof MidaError ? cause : new UsageError(`cannot dial: ${reason}`, { cause }))
    }
  }

  #listener(): Listener {
    return {
      ready: (rules, user) => this.#ready(rules, user),
      rules: (rules) => this.#takeRules(rules),
      metadata: (metadata) => this.#call(this.#options.onMetadata, metadata),
      event: (event) => this.#take(event),
      error: (error) => this.#report(error),
      ended: (error) => this.#ended(error),
    }
  }

  #ready(rules: Rules, user: User | undefined): void {
    this.#user = user
    this.#isKnown = this.#login !== undefined
    this.#takeRules(rules)
    for (const topic of this.#topics.names()) this.#join(topic)
    for (const message of this.#outbox.all()) this.#request(message.t, message.id, message.text)
    this.#enter('open')
    this.#mailbox.flush()
    this.#opening.resolve()
  }

  #takeRules(rules: Rules): void {
    this.#rules = rules
    this.#call(this.#options.onRules, rules)
  }

  #take({ t, data }: Event): void {
    if (t === events.MESSAGE) {
      const message: Message = readMessage(data)
      const ofTopic = message.topic === undefined ? undefined : this.#topics.handler(message.topic)
      this.#mailbox.take(message, ofTopic ?? this.#options.onMessage)
    } else {
      const { re, receipt } = readReceipt(data)
      if (this.#outbox.receipted(re, receipt)) this.#connection?.forget(re)
    }
  }

  async #post(t: number, id: string, data: object, to: string[], signal: AbortSignal | undefined): Promise<Receipt[]> {
    if (this.#state === 'closed') await this.opened()
    if (byteLength(id) < 1 || byteLength(id) > ID_BYTES) throw new UsageError('an id has 1 to 64 bytes')
    signal?.throwIfAborted()
    const text = encode(t, data)
    const receipts = this.#outbox.add({ id, t, text }, to)
    const abort = (): void => {
      this.#outbox.fail(id, signal?.reason)
      this.#connection?.forget(id)
    }
    signal?.addEventListener('abort', abort, { once: true })
    if (this.#state === 'open') this.#request(t, id, text)
    return receipts.finally(() => signal?.removeEventListener('abort', abort))
  }

  /** Sends what is in the outbox. */
  #request(t: number, id: string, text: string): void {
    const what = t === events.SEND ? 'send' : 'publish'
    if (!this.offers(what)) return this.#outbox.fail(id, notOffered(what))
    const failed = (error: MidaError): void => {
      if (isRefusal(error)) this.#outbox.fail(id, error)
    }
    this.#connection?.request({ t, text, id, proof: 'receipt', failed })
  }

  #join(topic: string): void {
    if (!this.offers('join')) return this.#refuseTopic(topic, notOffered('join'))
    const id = newId()
    this.#connection?.request({
      t: events.JOIN,
      text: encode(events.JOIN, { topic, id }),
      id,
      proof: 'none',
      done: () => this.#topics.joined(topic),
      failed: (error) => {
        if (isRefusal(error)) this.#refuseTopic(topic, error)
      },
    })
  }

  #refuseTopic(topic: string, error: MidaError): void {
    if (!this.#topics.remove(topic, error)) this.#report(error)
  }

  #ack(ids: string[]): boolean {
    if (this.#state !== 'open') return false
    this.#connection?.request({ t: events.ACK, text: encode(events.ACK, { ids }), proof: 'none' })
    return true
  }

  #ended(error: MidaError): void {
    this.#connection = undefined
    if (this.#state === 'closed') return
    const wasOpen = this.#state === 'open'
    if (this.#options.reconnect === false || !this.#isMendable(error)) return this.#finish(error)
    if (wasOpen) this.#opening = new Deferred()
    const delayMs = this.#backoff.next(error instanceof ClosedError ? error.code : 1006, wasOpen)
    this.#timer = this.#environment.setTimeout(() => void this.#dial(), delayMs)
    this.#enter('waiting', error)
  }

  #isMendable(error: MidaError): boolean {
    if (error instanceof LoginError) return error.reason === 'expired'
    if (!(error instanceof ClosedError)) return false
    const needsKey = error.code === 4004 && !this.#login
    return !needsKey && adviceFor(error.code).then !== 'stop'
  }

  #finish(error: MidaError): void {
    if (this.#state === 'closed') return
    this.#environment.clearTimeout(this.#timer)
    this.#mailbox.stop()
    if (this.#state === 'open') this.#opening = new Deferred()
    this.#enter('closed', error)
    this.#opening.reject(error)
    this.#outbox.failAll(error)
    for (const topic of this.#topics.names()) this.#topics.remove(topic, error)
  }

  #enter(state: State, reason?: Error): void {
    this.#state = state
    this.#call(this.#options.onState, state, reason)
  }

  /** What a handler throws is its own. */
  #call<A extends unknown[]>(handler: ((...args: A) => void) | undefined, ...args: A): void {
    try {
      handler?.(...args)
    } catch (error) {
      this.#report(error)
    }
  }

  #report(error: unknown): void {
    const { onError = (error: unknown) => console.warn(error) } = this.#options
    onError(error)
  }
}

/**
 * Connects, logs in if there is a secret, and gives the client. While the server can't be reached it goes on trying, as
 * `onState` tells, unless `reconnect` is false.
 *
 * @param url - `wss://…`; `ws://…` on your own machine only. Its host is what gets signed.
 * @throws {@link UsageError}, {@link LoginError}, {@link ClosedError}, {@link ProtocolError}, {@link AttackError}
 */
export async function connect(url: string, options: Options = {}): Promise<Client> {
  const client = new Client(url, options)
  await client.opened()
  return client
}

function isRefusal(error: MidaError): boolean {
  return error instanceof RefusedError || error instanceof UsageError
}

function notOffered(what: keyof typeof PERMS): NotOfferedError {
  return new NotOfferedError(`the server's rules do not allow to ${what}`)
}

function checkedUrl(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (!parsed || !/^wss?:$/.test(parsed.protocol) || parsed.hash) {
    throw new UsageError('the URL is none of a server: wss://host/path')
  }
  return url
}

function checkedTopic(topic: string): string {
  const bytes = byteLength(topic)
  if (bytes < 1 || bytes > TOPIC_BYTES) throw new UsageError('a topic has 1 to 128 bytes')
  encode(events.JOIN, { topic })
  return topic
}

function checkedBody(body: Json): Json {
  if (body === undefined) throw new UsageError('a message without a body')
  return body
}
