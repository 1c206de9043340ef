// graphile-worker with the settings of its performance page: a local queue of 500, completions in batches.
import { Logger, makeWorkerUtils, run } from 'graphile-worker'
import pg from 'pg'
import { asked, messages, ready, send, version, warm } from './common.mjs'

const settings = {
  concurrentJobs: asked.concurrency,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
  maxPoolSize: 10
}
const fail = error => { throw error }
const pgPool = new pg.Pool({ connectionString: asked.dsn, max: settings.maxPoolSize })
pgPool.on('error', fail)
pgPool.on('connect', client => client.on('error', fail))
const preset = { worker: { ...settings, logger: new Logger(() => () => {}) } } // silent

const utils = await makeWorkerUtils({ pgPool, preset })
await utils.migrate()
await utils.addJobs(messages().map(payload => ({ identifier: 'send', payload })))
await pgPool.query('vacuum analyze graphile_worker._private_jobs')
await warm()
await ready({ version: version('graphile-worker'), settings })
await run({ pgPool, preset, noHandleSignals: true, taskList: { send: async payload => { await send(payload) } } })
