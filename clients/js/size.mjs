// The size of the package in a browser, with all it depends on: minified, and that gzipped. `npm run size`.

import { build } from 'esbuild'
import { gzipSync } from 'node:zlib'

const { outputFiles, metafile } = await build({
  stdin: { contents: "export { connect } from '@mida/client'", resolveDir: import.meta.dirname },
  bundle: true,
  minify: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  write: false,
  metafile: true,
})
const [{ contents }] = outputFiles
const [{ inputs }] = Object.values(metafile.outputs)
const own = Object.entries(inputs).filter(([path]) => path.startsWith('dist/'))
const ownBytes = own.reduce((sum, [, { bytesInOutput }]) => sum + bytesInOutput, 0)
console.log(`minified ${contents.length} bytes (${ownBytes} of this package), gzip ${gzipSync(contents, { level: 9 }).length} bytes`)
