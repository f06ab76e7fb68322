// Opening a sealed message of 200 bytes: this package with its memory of session keys against the stock decrypt of eciesjs,
// in alternating pairs. `npm run bench`; PAIRS and PAIR_MS change how long it takes.

import { decrypt, encrypt, PrivateKey } from 'eciesjs'
import { Opener } from '@mida/client'
import { sessionCipher as nobleCipher } from './dist/cipher/noble.js'
import { sessionCipher as nodeCipher } from './dist/cipher/node.js'
import { cpus } from 'node:os'

const PAIRS = Number(process.env.PAIRS ?? 9)
const PAIR_MS = Number(process.env.PAIR_MS ?? 1_000)
const BYTES = 200
const WANTED = 400

const key = new PrivateKey()
const secret = Uint8Array.from(key.secret)
const text = new TextEncoder().encode('x'.repeat(BYTES))
const sealed = Uint8Array.from(encrypt(key.publicKey.toHex(), text))

const stock = () => decrypt(secret, sealed)
const openers = [
  ['on Node (OpenSSL)', nodeCipher],
  ['in browsers (noble), on this V8', nobleCipher],
].map(([name, cipher]) => {
  const opener = new Opener(secret, cipher)
  return [name, () => opener.open(sealed)]
})

/** Microseconds of one call, over half a pair. */
function measure(open) {
  const end = performance.now() + PAIR_MS / 2
  const start = performance.now()
  let calls = 0
  let now = start
  while (now < end) {
    open()
    calls += 1
    now = performance.now()
  }
  return ((now - start) * 1_000) / calls
}

function quartiles(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (part) => {
    const place = (sorted.length - 1) * part
    const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]]
    return low + (high - low) * (place % 1)
  }
  return [at(0.25), at(0.5), at(0.75)]
}

for (const open of [stock, ...openers.map(([, open]) => open)]) {
  if (Buffer.compare(open(), text) !== 0) throw new Error('an opener gives another text')
}

console.log(`${new Date().toISOString()}  ${cpus()[0]?.model}  Node ${process.version}`)
console.log(`${BYTES} bytes, ${PAIRS} pairs of ${PAIR_MS} ms`)
let enough = true
for (const [name, open] of openers) {
  measure(open)
  measure(stock)
  const pairs = Array.from({ length: PAIRS }, (_, pair) => {
    const first = pair % 2 === 0 ? measure(open) : undefined
    const theirs = measure(stock)
    return [first ?? measure(open), theirs]
  })
  const [ours] = [quartiles(pairs.map(([ours]) => ours))]
  const theirs = quartiles(pairs.map(([, theirs]) => theirs))
  const ratios = quartiles(pairs.map(([ours, theirs]) => theirs / ours))
  const us = (values) => `${values[1].toFixed(2)} µs (${values[0].toFixed(2)} to ${values[2].toFixed(2)})`
  console.log(`\n${name}\n  this package  ${us(ours)}\n  eciesjs       ${us(theirs)}`)
  console.log(`  ratio         ${ratios[1].toFixed(0)} (quartiles ${ratios[0].toFixed(0)} to ${ratios[2].toFixed(0)})`)
  enough &&= ratios[1] >= WANTED
}
if (!enough) {
  console.error(`\nless than ${WANTED} times as fast`)
  process.exitCode = 1
}
