// Starts the real server: the binary that MIDA_BIN names, or the newest build of this repository.

import assert from 'node:assert/strict'
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const target = (profile: string): string => fileURLToPath(new URL(`../../../target/${profile}/mida`, import.meta.url))

function find(): string {
  const paths = process.env['MIDA_BIN'] ? [process.env['MIDA_BIN']] : [target('release'), target('debug')]
  const path = paths.find((path) => existsSync(path))
  if (!path) throw new Error(`there is no server to test against: cargo build, or MIDA_BIN=…/mida (looked for ${paths.join(' and ')})`)
  return path
}

/** Runs a command of the binary to its end; gives what it printed. */
export function mida(...args: string[]): string {
  return execFileSync(find(), args, { encoding: 'utf8' }).trim()
}

/** A running server. */
export class Binary {
  private constructor(readonly url: string, readonly process: ChildProcess) {}

  static async start(...args: string[]): Promise<Binary> {
    const listen = args.includes('--listen') || args.includes('--config') ? [] : ['--listen', '127.0.0.1:0']
    const keeps = args.includes('--data') ? [] : ['--ephemeral']
    const child = spawn(find(), [...keeps, ...listen, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    let log = ''
    child.stderr.on('data', (text) => (log += text))
    const lines = createInterface({ input: child.stdout })
    const first = await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => [''])])
    const [, url] = /^listening on (ws:.*)$/.exec(String(first[0])) ?? []
    assert.ok(url, `the server did not start: ${log}`)
    return new Binary(url, child)
  }

  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    this.process.kill(signal)
    await once(this.process, 'exit')
  }
}
