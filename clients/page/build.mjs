// Builds the page that the server serves: one file with its script and style in it, the same compressed, and the policy that
// names their hashes. `npm run page` in clients/js writes them; with --check it only compares.

import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'

const { build, transform } = createRequire(new URL('../js/package.json', import.meta.url))('esbuild')
const path = (name) => fileURLToPath(new URL(name, import.meta.url))
const built = (name) => path(`../../src/app/page/${name}`)

/** Gives the page and its Content-Security-Policy. */
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
  const script = outputFiles[0].text.trim()
  if (/<\/script|<!--/i.test(script)) throw new Error('the script cannot stand in HTML')
  const css = readFileSync(path('page.css'), 'utf8')
  const style = (await transform(css, { loader: 'css', minify: true, charset: 'utf8' })).code.trim()
  const html = readFileSync(path('page.html'), 'utf8')
    .replace(/^\s+/gm, '')
    .replace('<style></style>', () => `<style>${style}</style>`)
    .replace('<script></script>', () => `<script>${script}</script>`)
  const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
  const policy = [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
  return { html, policy }
}

/** Says whether the files of the repository are what the source builds. */
export async function isBuilt() {
  const { html, policy } = await page()
  const gzip = gunzipSync(readFileSync(built('page.html.gz'))).toString()
  return readFileSync(built('page.html'), 'utf8') === html && gzip === html && readFileSync(built('policy'), 'utf8') === policy
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--check')) {
    if (!(await isBuilt())) throw new Error('src/app/page is not what clients/page builds: npm run page, in clients/js')
  } else if (await isBuilt().catch(() => false)) {
    console.log('src/app/page is what the source builds')
  } else {
    const { html, policy } = await page()
    const gzip = gzipSync(html, { level: 9 })
    writeFileSync(built('page.html'), html)
    writeFileSync(built('page.html.gz'), gzip)
    writeFileSync(built('policy'), policy)
    console.log(`src/app/page: ${Buffer.byteLength(html)} bytes, gzip ${gzip.length}`)
  }
}
