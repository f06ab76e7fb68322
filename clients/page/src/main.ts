// The page that a server gives to a browser: a key, and messages to and from others.

import { Chat } from './chat.js'
import { byId } from './dom.js'
import { kept, type Key } from './key.js'
import { setup } from './setup.js'

let key: Key | undefined
try {
  key = kept()
} catch {
  // Storage is not allowed, or holds no key: who makes one is told.
}

function start(key: Key): void {
  byId('setup').hidden = true
  byId('chat').hidden = false
  new Chat(key).start()
}

if (key) start(key)
else setup(start)
