// Two people in two browsers, on the page that the server serves. MIDA_BIN names the server, CHROMIUM the browser;
// SCREENSHOTS is a folder for pictures of it, or a new one is made.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'

const pictures = process.env.SCREENSHOTS ?? mkdtempSync(join(tmpdir(), 'mida-page-'))
mkdirSync(pictures, { recursive: true })

let server, url, browser, data
before(async () => {
  if (process.env.PAGE_URL) url = process.env.PAGE_URL
  else {
    data = mkdtempSync(join(tmpdir(), 'mida-page-data-'))
    const flags = ['--listen', '127.0.0.1:0', '--name', 'Example chat', '--note', 'Have a wonderful day!', '--data', data]
    server = spawn(process.env.MIDA_BIN ?? '../../target/debug/mida', flags, { stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = await once(createInterface({ input: server.stdout }), 'line')
    url = line.replace('listening on ws:', 'http:')
  }
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
})
after(async () => {
  await browser?.close()
  server?.kill()
  if (data) rmSync(data, { recursive: true })
})

/** A person: a browser profile of its own, that may be closed and come back. */
class Person {
  #context
  #faults = []

  static async come(options = {}) {
    const person = new Person()
    person.#context = await browser.newContext({ colorScheme: 'light', viewport: { width: 1100, height: 720 }, ...options })
    await person.open()
    return person
  }

  async open() {
    this.page = await this.#context.newPage()
    this.page.setDefaultTimeout(10_000)
    // A breach of the policy is an error on the console.
    this.page.on('console', (said) => said.type() === 'error' && this.#faults.push(said.text()))
    this.page.on('pageerror', (error) => this.#faults.push(String(error)))
    this.page.on('request', (request) => {
      const isOwn = [`${url}/`, `${url}/page.js`].includes(request.url())
      if (!isOwn && !request.url().startsWith('data:')) this.#faults.push(`asks for ${request.url()}`)
    })
    await this.page.goto(`${url}/`)
  }

  /** Gives its public key. */
  async makeKey() {
    await this.page.getByRole('button', { name: 'Make a new key' }).click()
    return this.key()
  }

  async key() {
    await this.isOnline()
    await this.page.getByRole('button', { name: /Your key/ }).click()
    const key = await this.page.locator('#own-key').textContent()
    await this.page.getByRole('button', { name: 'Close' }).click()
    assert.match(key, /^0[23][0-9a-f]{64}$/)
    return key
  }

  isOnline() {
    return this.page.locator('#state[data-is=open]').waitFor()
  }

  /** Waits until the server has seen everybody else go: it is asked at each login. */
  async isAlone() {
    for (;;) {
      await this.page.reload()
      const facts = await this.page.locator('#facts:not(:empty)').textContent()
      if (/\b1 online/.test(facts)) return this.isOnline()
    }
  }

  /** Begins a conversation without a mouse. */
  async start(kind, name) {
    await this.page.getByRole('button', { name: 'New conversation' }).focus()
    await this.page.keyboard.press('Enter')
    if (kind === 'topic') await this.page.getByRole('radio', { name: 'A topic' }).check()
    await this.page.getByLabel(kind === 'topic' ? 'Topic' : 'Public key', { exact: true }).fill(name)
    await this.page.keyboard.press('Enter')
  }

  async choose(name) {
    await this.page.getByRole('navigation').getByRole('button', { name }).click()
  }

  /** Types into the conversation in view, which has the focus. */
  async say(text) {
    await this.page.keyboard.type(text)
    await this.page.keyboard.press('Enter')
  }

  /** Waits until the conversation in view shows these messages, and nothing else. */
  async sees(...lines) {
    const log = this.page.getByRole('log')
    const body = log.locator('.body')
    await body.nth(lines.length - 1).waitFor()
    assert.deepEqual(await body.allTextContents(), lines)
  }

  /** Waits until this was said of the last message. */
  async isTold(fate) {
    await this.page.locator('.line.mine').last().getByText(fate).waitFor()
  }

  async picture(name) {
    await this.page.waitForTimeout(250)
    await this.page.screenshot({ path: join(pictures, `${name}.png`) })
  }

  close() {
    return this.page.close()
  }

  async leave() {
    await this.#context.close()
    assert.deepEqual(this.#faults, [])
  }
}

test('two people exchange messages by key, one of them offline in between', async () => {
  const ann = await Person.come()
  await ann.picture('setup-light')
  const annKey = await ann.makeKey()
  const bob = await Person.come({ colorScheme: 'dark' })
  await bob.page.getByLabel(/Or import one/).fill('1'.repeat(63))
  await bob.page.keyboard.press('Enter')
  await bob.page.getByText('A secret key is 64 hex digits.').waitFor()
  await bob.picture('setup-dark')
  await bob.page.getByLabel(/Or import one/).fill([...Array(64)].map(() => Math.floor(Math.random() * 15 + 1).toString(16)).join(''))
  await bob.page.keyboard.press('Enter')
  const bobKey = await bob.key()

  await bob.start('key', annKey)
  await bob.say('Hello Ann, this is Bob.')
  await bob.isTold('Delivered')
  await ann.page.getByRole('navigation').getByText('1 unread').waitFor()
  assert.equal(await ann.page.title(), '(1) mida')
  await ann.choose(/Hello Ann/)
  await ann.sees('Hello Ann, this is Bob.')
  assert.equal(await ann.page.title(), 'mida')
  assert.equal(await ann.page.locator('#peer-key').textContent(), bobKey)
  await ann.say('Bob! <b>Good</b> to <img src=x onerror=alert(1)> see you.')
  await bob.sees('Hello Ann, this is Bob.', 'Bob! <b>Good</b> to <img src=x onerror=alert(1)> see you.')

  await bob.close()
  await ann.isAlone()
  await ann.choose(/see you/)
  await ann.say('You are gone.')
  await ann.isTold('In their mailbox')
  await ann.say('When you are back, read this.')
  await ann.isTold('In their mailbox')
  await bob.open()
  await bob.page.getByRole('navigation').getByText('2 unread').waitFor()
  await bob.choose(/read this/)
  const all = [
    'Hello Ann, this is Bob.',
    'Bob! <b>Good</b> to <img src=x onerror=alert(1)> see you.',
    'You are gone.',
    'When you are back, read this.',
  ]
  await bob.sees(...all)
  await bob.say('I am back, and it was all here.')
  await ann.sees(...all, 'I am back, and it was all here.')

  // Both read on where they were, and nothing comes a second time.
  await ann.page.reload()
  await ann.isOnline()
  await ann.choose(/I am back/)
  await ann.sees(...all, 'I am back, and it was all here.')
  await ann.page.getByRole('button', { name: /Name or delete/ }).click()
  await ann.page.getByLabel(/Your name for it/).fill('Bob')
  await ann.page.keyboard.press('Enter')
  await ann.page.getByRole('heading', { name: 'Bob' }).waitFor()
  await ann.picture('chat-light')
  await ann.page.getByRole('button', { name: /Your key/ }).click()
  await ann.picture('key-light')
  await bob.picture('chat-dark')
  await ann.leave()
  await bob.leave()
})

test('a topic reaches who is in it, on a phone too', async () => {
  const [ann, bob] = [await Person.come(), await Person.come({ colorScheme: 'dark', viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true })]
  await ann.makeKey()
  await bob.makeKey()
  await bob.picture('list-phone')
  await bob.start('topic', 'news')
  await ann.start('topic', 'news')
  await ann.say('Is anybody here?')
  await ann.isTold('Published')
  await bob.sees('Is anybody here?')
  await bob.say('I am.')
  await bob.isTold('Published')
  await ann.sees('Is anybody here?', 'I am.')
  await bob.sees('Is anybody here?', 'I am.')
  const width = await bob.page.evaluate(() => document.documentElement.scrollWidth)
  assert.equal(width, 390, 'nothing is cut off')
  await bob.picture('topic-phone')
  await bob.page.getByRole('button', { name: 'Back to all conversations' }).click()
  await bob.page.getByRole('button', { name: /#news/ }).waitFor()
  await bob.picture('back-phone')
  await bob.page.getByRole('button', { name: 'New conversation' }).click()
  await bob.picture('dialog-phone')
  await ann.leave()
  await bob.leave()
})

after(() => console.log(`pictures are in ${pictures}`))
