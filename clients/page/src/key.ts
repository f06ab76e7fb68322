import { generateSecret, identityOf } from '@mida/client'

const PLACE = 'mida:secret'

/** The user's secret key in this browser, as 64 hex digits. */
export interface Key {
  readonly secret: string
  readonly identity: string
}

/** The key that is kept here; undefined if there is none. */
export function kept(): Key | undefined {
  const secret = localStorage.getItem(PLACE)
  return secret === null ? undefined : read(secret)
}

/** Makes a new one, and keeps it. */
export function makeKey(): Key {
  const hex = [...generateSecret()].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  return keep(hex)
}

/** Keeps one that was made elsewhere. @throws if it is none; the error does not tell what it is. */
export function keep(secret: string): Key {
  const key = read(secret)
  localStorage.setItem(PLACE, key.secret)
  return key
}

export function forget(): void {
  localStorage.removeItem(PLACE)
}

/** As `mida keygen` writes it, so that `mida connect --key` takes the file. */
export function exportFile({ secret }: Key): Blob {
  return new Blob([`${secret}\n`], { type: 'text/plain' })
}

function read(text: string): Key {
  const secret = text.trim().toLowerCase()
  if (/^0[234][0-9a-f]{64,}$/.test(secret)) throw new Error('This is a public key. The secret one is in the file that mida keygen made.')
  if (!/^[0-9a-f]{64}$/.test(secret)) throw new Error('A secret key is 64 hex digits.')
  try {
    return { secret, identity: identityOf(secret) }
  } catch {
    throw new Error('These 64 digits are no key: the number is out of range.')
  }
}
