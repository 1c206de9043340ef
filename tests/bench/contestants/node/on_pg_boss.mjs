// pg-boss: two workers, so that one fetches while the other sends; batches without a pause while they come back
// full, each job of a batch settled by itself. The sender's 100 connections bound the calls. Measured here: one
// worker or more than two, and batches below 250, are slower.
import { PgBoss } from 'pg-boss'
import { asked, messages, ready, send, version, warm } from './common.mjs'

const settings = {
  batchSize: 250,
  localConcurrency: 2,
  burstWhenBatchFull: true,
  perJobResults: true,
  pollingIntervalSeconds: 0.5
}
const boss = new PgBoss({ connectionString: asked.dsn, max: 10 })
boss.on('error', error => { throw error })
await boss.start()
await boss.createQueue('send')
await boss.insert('send', messages().map(data => ({ data })))
await boss.getDb().executeSql('vacuum analyze pgboss.job_common')
await warm()
await ready({ version: version('pg-boss'), settings })
await boss.work('send', settings, jobs => Promise.all(
  jobs.map(async job => ({ id: job.id, status: 'completed', output: { sid: await send(job.data) } }))
))
