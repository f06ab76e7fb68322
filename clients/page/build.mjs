// Builds the page that the server serves: a file with its style in it, and its script, both also compressed, and the policy that
// names the hash of the style and allows no script but that file. `npm run page` in clients/js writes them; with --check it only compares.

import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'

const { build, transform } = createRequire(new URL('../js/package.json', import.meta.url))('esbuild')
const path = (name) => fileURLToPath(new URL(name, import.meta.url))
const built = (name) => path(`../../src/app/page/${name}`)

/** Gives the page, its script and its Content-Security-Policy. */
export async function page() {
  const { outputFiles } = await build({
    entryPoints: [path('src/main.ts')],
    alias: { '@mida/client': path('../js/dist/index.js') },
    bundle: true,
    minify: true,
    format: 'iife',
    platform: 'browser',
    target: 'es2022',
    charset: 'utf8',
    legalComments: 'none',
    write: false,
  })
  const js = outputFiles[0].text.trim()
  const css = readFileSync(path('page.css'), 'utf8')
  const style = (await transform(css, { loader: 'css', minify: true, charset: 'utf8' })).code.trim()
  const html = readFileSync(path('page.html'), 'utf8')
    .replace(/^\s+/gm, '')
    .replace('<style></style>', () => `<style>${style}</style>`)
  const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
  const policy = [
    "default-src 'none'",
    "script-src 'self'",
    `style-src ${hash(style)}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
  return { html, js, policy }
}

/** Says whether the files of the repository are what the source builds. */
export async function isBuilt() {
  const { html, js, policy } = await page()
  const is = (name, text) =>
    readFileSync(built(name), 'utf8') === text && gunzipSync(readFileSync(built(`${name}.gz`))).toString() === text
  return is('page.html', html) && is('page.js', js) && readFileSync(built('policy'), 'utf8') === policy
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--check')) {
    if (!(await isBuilt())) throw new Error('src/app/page is not what clients/page builds: npm run page, in clients/js')
  } else if (await isBuilt().catch(() => false)) {
    console.log('src/app/page is what the source builds')
  } else {
    const { html, js, policy } = await page()
    for (const [name, text] of [['page.html', html], ['page.js', js]]) {
      const gzip = gzipSync(text, { level: 9 })
      writeFileSync(built(name), text)
      writeFileSync(built(`${name}.gz`), gzip)
      console.log(`src/app/page/${name}: ${Buffer.byteLength(text)} bytes, gzip ${gzip.length}`)
    }
    writeFileSync(built('policy'), policy)
  }
}
