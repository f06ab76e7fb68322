import { REAL, type Environment } from './environment.js'
import { AttackError, LoginError, MidaError, ProtocolError, UsageError } from './errors.js'
import * as events from './events.js'
import type { Event, Metadata, Rules, User } from './events.js'
import { Inbound } from './inbound.js'
import { signChallenge } from './key.js'
import { Liveness } from './liveness.js'
import type { Opener } from './opener.js'
import { byteLength, encode, pack } from './outbound.js'
import { readChallenge, readError, readMetadata, readResult } from './read.js'
import { closedWith } from './reconnect.js'
import { Requests, type Placed, type Request } from './requests.js'
import type { Socket, SocketClass } from './socket/socket.js'

/** From dialling to the rules. */
const RULES_WAIT_MS = 10_000
/** From the rules to the end of the login: a server may let it wait 15 s for each of two checks. */
const LOGIN_WAIT_MS = 40_000
/** What is refused so is sent again when the server says: it was too much at once, or the store is not there now. */
const MAY_PASS = new Set(['rate_limited', 'store_full'])
/** Timers with more fire at once. */
const TIMER_MAX_MS = 2 ** 31 - 1

/** How to log in; without it a connection stays anonymous. */
export interface Login {
  readonly secret: Uint8Array
  readonly identity: string
  readonly opener: Opener
  /** Members of event 2 beside `pubKey`. */
  readonly wishes: object
}

/** Who is told what happens on a connection. */
export interface Listener {
  /** Logged in, or greeted if there is no login: the rules are those that hold from now on. */
  ready(rules: Rules, user: User | undefined): void
  /** Newer rules. */
  rules(rules: Rules): void
  metadata(metadata: Metadata): void
  /** A message or a receipt. */
  event(event: Event): void
  /** A refusal that answers nothing that somebody waits for. */
  error(error: MidaError): void
  /** The end, told once. Requests that waited have been told the same error. */
  ended(error: MidaError): void
}

type Phase = 'dialling' | 'asked' | 'signed' | 'passed' | 'ready' | 'ended'

/** One connection: from dialling over the login to its end. It does not come back. */
export class Connection {
  readonly #host: string
  readonly #login: Login | undefined
  readonly #environment: Environment
  readonly #listener: Listener
  readonly #socket: Socket
  readonly #inbound: Inbound
  readonly #requests = new Requests()
  readonly #liveness: Liveness
  #phase: Phase = 'dialling'
  #user: User | undefined
  #deadline: unknown
  #pause: unknown
  /** Between requests while some are late; 0: none are. */
  #spacingMs = 0
  #isLate = false
  #willFlush = false
  #socketError = ''

  /** Dials. @throws what the class of the socket throws. */
  constructor(
    url: string,
    socketClass: SocketClass,
    login: Login | undefined,
    listener: Listener,
    environment: Environment = REAL,
  ) {
    this.#host = new URL(url).host
    this.#login = login
    this.#listener = listener
    this.#environment = environment
    this.#inbound = new Inbound(login?.opener)
    this.#liveness = new Liveness(
      environment,
      () => {
        if (this.#pause === undefined) this.ask()
        return this.#pause === undefined
      },
      () => this.#end(closedWith(1006, 'the server does not answer any more')),
    )
    this.#socket = new socketClass(url, ['mida'])
    this.#socket.binaryType = 'arraybuffer'
    this.#socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => this.#receive(data)
    this.#socket.onerror = ({ message }: { message?: string }) => (this.#socketError = message ?? '')
    this.#socket.onclose = ({ code, reason }: { code: number; reason: string }) =>
      this.#end(closedWith(code, reason || this.#socketError))
    this.#wait(RULES_WAIT_MS, 'no rules came: no Mida server?')
  }

  /** Queues a request; what is queued in one turn goes out together. Its end is told at the latest with the connection's. */
  request(request: Request): void {
    this.#requests.add(request)
    if (this.#willFlush) return
    this.#willFlush = true
    queueMicrotask(() => this.#flush())
  }

  /** Asks for the metadata. */
  ask(request: Partial<Request> = {}): void {
    this.request({ t: events.METADATA, text: encode(events.METADATA, {}), proof: 'event', ...request })
  }

  /** The sender of this id waits for nothing any more. */
  forget(id: string): void {
    this.#requests.forget(id)
  }

  /** Sends what is queued, and closes. */
  close(error: MidaError): void {
    if (this.#phase === 'ready') this.#flush()
    this.#end(error)
  }

  #receive(message: string | ArrayBuffer): void {
    try {
      this.#liveness.heard()
      for (const event of this.#inbound.events(message)) {
        if (this.#phase === 'ended') return
        this.#take(event)
      }
    } catch (error) {
      this.#end(error instanceof MidaError ? error : new ProtocolError('a message cannot be read', { cause: error }))
    }
  }

  #take(event: Event): void {
    const { t, data } = event
    if (t === events.RULES) this.#takeRules()
    else if (t === events.METADATA) {
      this.#listener.metadata(readMetadata(data))
      this.#requests.answered(events.METADATA, data)
    } else if (t === events.CHALLENGE) this.#takeChallenge(event)
    else if (t === events.RESULT) this.#takeResult(event)
    else if (t === events.ERROR) this.#takeError(event)
    // Before that it may be in the clear.
    else if ((t === events.MESSAGE || t === events.RECEIPT) && this.#login && this.#phase === 'ready') {
      if (t === events.RECEIPT && typeof data['re'] === 'string') this.#requests.receipted(data['re'])
      this.#listener.event(event)
    }
  }

  #takeRules(): void {
    const { rules } = this.#inbound
    if (!rules) return
    if (this.#phase === 'dialling' && this.#login) this.#startLogin(this.#login)
    else if (this.#phase === 'dialling' || this.#phase === 'passed') {
      this.#phase = 'ready'
      this.#environment.clearTimeout(this.#deadline)
      this.#liveness.start(rules.hbMs)
      this.#listener.ready(rules, this.#user)
    } else if (this.#phase === 'ready') {
      this.#liveness.start(rules.hbMs)
      this.#listener.rules(rules)
    }
  }

  #startLogin({ identity, wishes }: Login): void {
    this.#phase = 'asked'
    this.#wait(LOGIN_WAIT_MS, 'the server did not decide the login')
    this.#requestForLogin(events.AUTH, { pubKey: identity, ...wishes })
  }

  #takeChallenge({ data }: Event): void {
    if (this.#phase !== 'asked' || !this.#login) throw new AttackError('a challenge came that nobody asked for')
    const { challenge, schemes } = readChallenge(data)
    if (!schemes.includes('mida-v1')) throw new LoginError('bad_scheme')
    this.#requests.answered(events.AUTH, data)
    this.#phase = 'signed'
    const solution = signChallenge(this.#login.secret, this.#host, challenge)
    this.#requestForLogin(events.SOLUTION, { scheme: 'mida-v1', solution })
  }

  #takeResult({ data }: Event): void {
    if (this.#phase !== 'asked' && this.#phase !== 'signed') throw new AttackError('a result came that nobody asked for')
    const result = readResult(data)
    if (!result.passed) throw new LoginError(result.reason)
    // Without a challenge where `auth` is "key" (PROTOCOL.md section 6).
    this.#requests.answered(this.#phase === 'asked' ? events.AUTH : events.SOLUTION, data)
    this.#user = result.user
    this.#phase = 'passed'
  }

  #takeError({ data }: Event): void {
    const { error, id } = readError(data)
    const { re } = error
    const refused = re === null ? this.#requests.refusedFrame() : this.#requests.refused(re, id)
    if (MAY_PASS.has(error.code) && error.retryAfterMs !== undefined) {
      this.#requests.addAgain(refused)
      return this.#slowDown(error.retryAfterMs)
    }
    for (const { request } of refused) request.failed?.(error)
    if (!refused.some(({ request }) => request.failed)) this.#listener.error(error)
  }

  #requestForLogin(t: number, data: object): void {
    this.request({ t, text: encode(t, data), proof: 'event', failed: (error) => this.#end(error) })
  }

  /** This client was over its rate, or the server's store is not there: nothing goes out for so long, and then one request at a time. */
  #slowDown(retryAfterMs: number): void {
    // Refusals that were under way are not its pace.
    if (!this.#isLate) this.#spacingMs = this.#spacingMs > 0 ? 2 * this.#spacingMs : retryAfterMs
    this.#isLate = true
    this.#pauseFor(retryAfterMs)
  }

  #pauseFor(ms: number): void {
    this.#environment.clearTimeout(this.#pause)
    this.#pause = this.#environment.setTimeout(() => {
      this.#pause = undefined
      this.#isLate = false
      this.#flush()
    }, Math.min(ms, TIMER_MAX_MS))
  }

  #flush(): void {
    this.#willFlush = false
    const { rules, batching } = this.#inbound
    if (!rules || this.#pause !== undefined || this.#phase === 'ended') return
    const requests = this.#requests.take(this.#spacingMs > 0 ? 1 : Infinity).filter((placed) => {
      const bytes = byteLength(placed.request.text)
      if (bytes <= rules.maxMessage) return true
      this.#requests.drop(placed)
      placed.request.failed?.(new UsageError(`a message of ${bytes} bytes; the server takes ${rules.maxMessage}`))
      return false
    })
    const texts = requests.map(({ request }) => request.text)
    let at = 0
    for (const { text, count } of pack(texts, batching, rules.maxBatch, rules.maxMessage)) {
      this.#requests.wentOut(requests.slice(at, (at += count)))
      this.#socket.send(text)
    }
    if (needsProof(requests)) this.ask()
    if (this.#requests.queued === 0) this.#spacingMs = 0
    else if (this.#spacingMs > 0) this.#pauseFor(this.#spacingMs)
  }

  #wait(ms: number, reason: string): void {
    this.#environment.clearTimeout(this.#deadline)
    this.#deadline = this.#environment.setTimeout(() => this.#end(closedWith(1006, reason)), ms)
  }

  #end(error: MidaError): void {
    if (this.#phase === 'ended') return
    this.#phase = 'ended'
    for (const timer of [this.#deadline, this.#pause]) this.#environment.clearTimeout(timer)
    this.#liveness.stop()
    this.#socket.onmessage = this.#socket.onclose = null
    // A socket that never opened complains when it is closed.
    this.#socket.onerror = () => {}
    this.#socket.close(1000)
    for (const request of this.#requests.clear()) request.failed?.(error)
    this.#listener.ended(error)
  }
}

/** Whether the last of these that somebody waits for has no answer of its own: that to a question behind it tells. */
function needsProof(requests: readonly Placed[]): boolean {
  const last = requests.findLast(({ request: { proof, done } }) => proof === 'event' || (proof === 'none' && done))
  return last?.request.proof === 'none'
}
