// The package as a browser gets it: bundled, and run where nothing of Node is, against the real server.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createContext, runInContext } from 'node:vm'
import { build } from 'esbuild'
import { WebSocket } from 'ws'
import { Binary } from './binary.js'

const PAGE = `
  import { connect, generateSecret } from '@mida/client'
  globalThis.result = (async () => {
    const client = await connect(globalThis.url, { secret: generateSecret() })
    const { name } = await client.metadata()
    const { identity } = client
    client.close()
    return [identity, name].join(' ')
  })()
`

test('the bundle for browsers logs in', async () => {
  const { outputFiles: [file] } = await build({
    stdin: { contents: PAGE, resolveDir: process.cwd() },
    bundle: true, write: false, format: 'iife', platform: 'browser', target: 'es2022',
  })
  assert.ok(file && !/createDecipheriv|node:/.test(file.text), 'nothing of Node is in it')
  for (const args of [[], ['--batching']]) {
    const server = await Binary.start(...args)
    try {
      const page = createContext({
        WebSocket, crypto, TextEncoder, TextDecoder, URL, performance, queueMicrotask, setTimeout, clearTimeout, console,
        url: server.url,
      })
      runInContext(file.text, page)
      assert.match(await page['result'], /^0[23][0-9a-f]{64} mida$/)
    } finally {
      await server.stop()
    }
  }
})
