// The page in the server is what its source builds.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'

test('the committed page is what clients/page builds', async () => {
  const { isBuilt } = await import(pathToFileURL(`${process.cwd()}/../page/build.mjs`).href)
  assert.ok(await isBuilt(), 'src/app/page is old: npm run page, and commit it')
})
