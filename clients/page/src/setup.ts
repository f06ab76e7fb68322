import { byId } from './dom.js'
import { keep, makeKey, type Key } from './key.js'

/** Asks for a key, a new one or one from elsewhere. */
export function setup(done: (key: Key) => void): void {
  const [input, file, problem] = [byId<HTMLInputElement>('secret'), byId<HTMLInputElement>('file'), byId('secret-problem')]
  byId('setup').hidden = false
  const take = (how: () => Key): void => {
    try {
      const key = how()
      input.value = ''
      done(key)
    } catch (error) {
      problem.textContent = error instanceof Error ? error.message : String(error)
      input.setAttribute('aria-invalid', 'true')
      input.focus()
    }
  }
  byId('make').addEventListener('click', () => take(makeKey))
  byId('import').addEventListener('submit', (event) => {
    event.preventDefault()
    take(() => keep(input.value))
  })
  file.addEventListener('change', async () => {
    const text = await file.files?.[0]?.slice(0, 1_024).text()
    file.value = ''
    if (text !== undefined) take(() => keep(text))
  })
}
