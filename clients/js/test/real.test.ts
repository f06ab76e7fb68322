// Against the real server.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { promisify } from 'node:util'
import {
  Client, ClosedError, connect, generateSecret, identityOf, LoginError, RefusedError,
  type Message, type Metadata, type Options, type Secret, type State,
} from '@mida/client'
import { Binary, mida } from './binary.js'
import { Queue } from './queue.js'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function serve(...args: string[]): Promise<Binary> {
  const server = await Binary.start(...args)
  cleanups.push(() => server.stop())
  return server
}

async function logIn({ url }: Binary, options: Options = {}): Promise<Client> {
  const client = await connect(url, { secret: generateSecret(), reconnect: false, ...options })
  cleanups.push(() => client.close())
  return client
}

/** Logs in until nothing is unread: acks go out with a close at the latest, and the store may still be at them. */
async function isEmpty(server: Binary, secret: Secret): Promise<void> {
  for (;;) {
    const client = await logIn(server, { secret })
    client.close()
    if (client.user?.unreadMessages === 0) return
  }
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'mida-js-'))
  cleanups.push(() => rmSync(path, { recursive: true, force: true }))
  return path
}

test('an anonymous client gets rules and metadata', async () => {
  const client = await connect((await serve('--note', 'hello')).url)
  assert.deepEqual(client.rules?.perms, ['metadata', 'auth'])
  const metadata = await client.metadata()
  assert.deepEqual([metadata.name, metadata.note, metadata.online], ['mida', 'hello', 0])
  client.close()
})

test('a login passes in each mode of the server', async () => {
  for (const args of [[], ['--batching'], ['--bound-only'], ['--auth', 'key'], ['--batching', '--auth', 'key']]) {
    const client = await logIn(await serve(...args), { user: { displayName: 'Ada 😀' }, method: 'signup' })
    assert.equal(client.user?.displayName, 'Ada 😀', args.join(' '))
    assert.ok(!client.rules?.perms.includes('auth'))
    assert.equal((await client.metadata()).name, 'mida')
  }
})

test('a login at localhost is for localhost', async () => {
  const { url } = await serve('--listen', '127.0.0.1:0')
  const client = await connect(url.replace('127.0.0.1', 'LOCALHOST'), { secret: generateSecret() })
  client.close()
})

test('a secret of keygen is the identity it printed', async () => {
  const file = join(folder(), 'ann.key')
  const identity = mida('keygen', '--out', file)
  const secret = readFileSync(file, 'utf8')
  assert.equal(identityOf(secret), identity)
  assert.equal((await logIn(await serve(), { secret })).identity, identity)
})

test('a login under a name the server does not go by fails', async () => {
  const { url } = await serve('--public-host', 'chat.example')
  await assert.rejects(connect(url, { secret: generateSecret() }), (error) => {
    return error instanceof LoginError && ['wrong_host', 'bad_signature'].includes(error.reason)
  })
})

test('many questions are answered in order, in batches and alone', async () => {
  for (const args of [[], ['--batching']]) {
    const client = await logIn(await serve(...args))
    const answers = await Promise.all(Array.from({ length: 150 }, () => client.metadata()))
    assert.equal(answers.length, 150)
    const uptimes = answers.map(({ uptime }) => uptime)
    assert.deepEqual(uptimes, uptimes.toSorted((a, b) => a - b))
  }
})

test('what is over the rate is asked again when the server says', async () => {
  const delays: number[] = []
  const environment: Options['environment'] = {
    setTimeout: (run, ms) => {
      delays.push(ms)
      return setTimeout(run, ms)
    },
  }
  const client = await logIn(await serve('--limit', 'member_messages_per_minute=1200'), { environment })
  const answers = await Promise.all(Array.from({ length: 1_205 }, () => client.metadata()))
  assert.equal(answers.length, 1_205)
  assert.ok(delays.some((ms) => ms < 5_000), 'the rate was reached')
  assert.equal(client.state, 'open')
})

test('what a reload changes is told', async () => {
  const file = join(folder(), 'mida.toml')
  const write = (note: string, heartbeat: number): void =>
    writeFileSync(file, `listen = ["127.0.0.1:0"]\nnote = "${note}"\nheartbeat = ${heartbeat}\n`)
  write('before', 30_000)
  const server = await serve('--config', file)
  const [told, rules] = [new Queue<Metadata>(), new Queue<number>()]
  await logIn(server, { onMetadata: (metadata) => told.push(metadata), onRules: ({ hbMs }) => rules.push(hbMs) })
  assert.equal(await rules.next(), 30_000)
  write('after', 20_000)
  server.process.kill('SIGHUP')
  assert.equal(await rules.next(), 20_000)
  assert.equal((await told.next()).note, 'after')
})

test('a server that goes and comes back is logged in to again', async () => {
  const first = await serve()
  const states = new Queue<[State, Error | undefined]>()
  const client = await logIn(first, {
    reconnect: true,
    environment: { random: () => 0.01 },
    onState: (state, reason) => states.push([state, reason]),
  })
  assert.deepEqual([await states.next(), await states.next()], [['connecting', undefined], ['open', undefined]])
  await first.stop('SIGTERM')
  const [state, reason] = await states.next()
  assert.ok(state === 'waiting' && reason instanceof ClosedError && reason.code === 1001 && reason.fault === 'server')
  const again = serve('--listen', new URL(first.url).host)
  await client.opened()
  await again
  assert.equal((await client.metadata()).name, 'mida')
})

test('a silent client answers pings, and asks after a silence', async () => {
  const told = new Queue<Metadata>()
  const client = await logIn(await serve('--heartbeat', '100'), { onMetadata: (metadata) => told.push(metadata) })
  const [first, second] = [await told.next(), await told.next()]
  assert.ok(second.uptime - first.uptime >= 990)
  assert.equal(client.state, 'open')
})

test('where a login is required an anonymous client ends with 4004', async () => {
  const states = new Queue<Error | undefined>()
  const client = new Client((await serve('--auth-within', '1')).url, {
    onState: (state, reason) => void (state === 'closed' && states.push(reason)),
  })
  await client.opened()
  const reason = await states.next()
  assert.ok(reason instanceof ClosedError && reason.code === 4004)
})

/** Messages to a client, in order. */
function inbox(): { readonly got: Queue<Message>; readonly options: Options } {
  const got = new Queue<Message>()
  return { got, options: { onMessage: (message) => got.push(message) } }
}

/** A server whose mailboxes are in a folder of its own. */
const serveMail = (...args: string[]): Promise<Binary> => serve('--data', folder(), ...args)

test('a message to oneself arrives', async () => {
  const { got, options } = inbox()
  const client = await logIn(await serveMail(), options)
  assert.ok(client.offers('send') && client.offers('join') && client.offers('publish'))
  assert.equal((await client.send(client.identity!, { text: 'hello' })).state, 'delivered')
  const { from, body } = await got.next()
  assert.deepEqual([from, body], [client.identity, { text: 'hello' }])
})

test('what was sent to nobody waits until the login, in order, and is gone once it is acked', async () => {
  for (const args of [[], ['--batching']]) {
    const server = await serveMail(...args)
    const [ann, secret] = [await logIn(server), generateSecret()]
    const bodies = Array.from({ length: 100 }, (_, n) => ({ n }))
    const receipts = await Promise.all(bodies.map((body) => ann.send(identityOf(secret), body)))
    // A key that never logged in has room for 32.
    .catch((error: unknown) => error)
    assert.ok(receipts instanceof RefusedError && receipts.code === 'mailbox_full')
    const { got, options } = inbox()
    const bob = await logIn(server, { secret, ...options })
    assert.equal(bob.user?.unreadMessages, 32)
    for (let n = 0; n < 32; n++) {
      const { from, body } = await got.next()
      assert.deepEqual([from, body], [ann.identity, { n }])
    }
    bob.close()
    await isEmpty(server, secret)
    const again = await logIn(server, { secret, ...options })
    const sent = await Promise.all(bodies.map((body) => ann.send(again.identity!, body)))
    assert.ok(sent.every(({ state }) => state === 'delivered' || state === 'stored'))
    for (const { n } of bodies) assert.deepEqual((await got.next()).body, { n })
    ann.close()
    again.close()
  }
})

test('two devices of a key both get a message, and one ack frees it', async () => {
  const server = await serveMail()
  const [ann, secret] = [await logIn(server), generateSecret()]
  const [phone, laptop] = [inbox(), inbox()]
  const one = await logIn(server, { secret, ...phone.options })
  // It acks nothing.
  const other = await logIn(server, { secret, onMessage: (message) => {
    laptop.got.push(message)
    return new Promise(() => {})
  } })
  assert.equal((await ann.send(one.identity!, 'both')).state, 'delivered')
  assert.deepEqual([(await phone.got.next()).body, (await laptop.got.next()).body], ['both', 'both'])
  one.close()
  other.close()
  await isEmpty(server, secret)
})

test('a topic reaches who joined it, its publisher too, until it is left', async () => {
  const server = await serveMail()
  const [news, ann] = [new Queue<Message>(), inbox()]
  const [reader, writer] = [await logIn(server), await logIn(server, ann.options)]
  await assert.rejects(writer.publish('news', 1), (error) => error instanceof RefusedError && error.code === 'offline')
  await reader.join('news', (message) => news.push(message))
  await writer.join('news')
  assert.equal((await writer.publish('news', { it: 'rains' })).state, 'delivered')
  for (const { topic, from, body } of [await news.next(), await ann.got.next()]) {
    assert.deepEqual([topic, from, body], ['news', writer.identity, { it: 'rains' }])
  }
  await reader.leave('news')
  await writer.leave('news')
  await assert.rejects(writer.publish('news', 1), (error) => error instanceof RefusedError && error.code === 'offline')
})

test('a live message is for who is there, and is stored for nobody', async () => {
  const server = await serveMail()
  const [ann, secret, bob] = [await logIn(server), generateSecret(), inbox()]
  const isRefused = (error: unknown): boolean => error instanceof RefusedError && error.code === 'offline'
  await assert.rejects(ann.send(identityOf(secret), 'now?', { live: true }), isRefused)
  const client = await logIn(server, { secret, ...bob.options })
  assert.equal(client.user?.unreadMessages, 0)
  assert.equal((await ann.send(client.identity!, 'now', { live: true })).state, 'delivered')
  assert.equal((await bob.got.next()).body, 'now')
})

test('a message that is sent again under its id counts once, and its id stands for nothing else', async () => {
  const server = await serveMail()
  const [ann, bob] = [await logIn(server), inbox()]
  const client = await logIn(server, bob.options)
  const first = await ann.send(client.identity!, 'once', { id: 'a' })
  const second = await ann.send(client.identity!, 'once', { id: 'a' })
  assert.deepEqual([second.id, second.to], [first.id, client.identity])
  const isReused = (error: unknown): boolean => error instanceof RefusedError && error.code === 'id_reused'
  await assert.rejects(ann.send(client.identity!, 'twice', { id: 'a' }), isReused)
  await ann.send(client.identity!, 'end')
  assert.deepEqual([(await bob.got.next()).body, (await bob.got.next()).body], ['once', 'end'])
})

test('messages outlive the server', async () => {
  const data = folder()
  const first = await serve('--data', data)
  const [ann, secret, bob] = [await logIn(first), generateSecret(), inbox()]
  assert.equal((await ann.send(identityOf(secret), 'kept')).state, 'stored')
  await first.stop('SIGKILL')
  await logIn(await serve('--data', data), { secret, ...bob.options })
  assert.equal((await bob.got.next()).body, 'kept')
})

test('a server that keeps nothing still takes live messages and topics', async () => {
  const server = await serve()
  const [ann, bob] = [await logIn(server), inbox()]
  const client = await logIn(server, bob.options)
  assert.equal((await ann.send(client.identity!, 'now', { live: true })).state, 'delivered')
  assert.equal((await bob.got.next()).body, 'now')
  const isForbidden = (error: unknown): boolean => error instanceof RefusedError && error.code === 'forbidden'
  await assert.rejects(ann.send(client.identity!, 'for later'), isForbidden)
})

test('the example of the README works', async () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const [, example] = /```js\n(.*?)```/s.exec(readme) ?? []
  assert.ok(example && example.trimEnd().split('\n').length === 10, 'ten lines')
  const file = new URL('../build/example.mjs', import.meta.url)
  writeFileSync(file, example)
  const { url } = await serveMail()
  const { stdout } = await promisify(execFile)(process.execPath, [file.pathname, url])
  assert.match(stdout, /^logged in as 0[23][0-9a-f]{64}\n.*name: 'mida'/s)
})
