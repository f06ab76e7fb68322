// Runs every check against the servers that run.sh started.

import './test_start.js'
import './test_sealed.js'
import './test_login.js'
import './test_modes.js'
import './test_batches.js'
import './test_mistakes.js'
import './test_connection.js'
import { run } from './harness.js'

process.exit((await run()) ? 1 : 0)
