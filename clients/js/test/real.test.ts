// Against the real server.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { promisify } from 'node:util'
import {
  Client, ClosedError, connect, generateSecret, identityOf, LoginError, NotOfferedError,
  type Message, type Metadata, type Options, type State,
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

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'mida-js-'))
  cleanups.push(() => rmSync(path, { recursive: true }))
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

test('a message to oneself arrives where the server serves messages, and is not sent where not', async () => {
  const got = new Queue<Message>()
  const client = await logIn(await serve(), { onMessage: (message) => got.push(message) })
  const sent = client.send(client.identity!, { text: 'hello' })
  if (!client.offers('send')) return assert.rejects(sent, NotOfferedError)
  assert.ok(['stored', 'delivered'].includes((await sent).state))
  const { from, body } = await got.next()
  assert.deepEqual([from, body], [client.identity, { text: 'hello' }])
})

test('the example of the README works', async () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const [, example] = /```js\n(.*?)```/s.exec(readme) ?? []
  assert.ok(example && example.trimEnd().split('\n').length === 10, 'ten lines')
  const file = new URL('../build/example.mjs', import.meta.url)
  writeFileSync(file, example)
  const { url } = await serve()
  const { stdout } = await promisify(execFile)(process.execPath, [file.pathname, url])
  assert.match(stdout, /^logged in as 0[23][0-9a-f]{64}\n.*name: 'mida'/s)
})
