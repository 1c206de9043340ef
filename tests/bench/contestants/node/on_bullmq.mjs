// BullMQ: one worker at the bench's concurrency. Finishing a job fetches the next in the same script; batches are
// of its commercial version only.
import { Queue, Worker } from 'bullmq'
import { asked, messages, ready, send, version, warm } from './common.mjs'

const connection = { path: asked.redis, maxRetriesPerRequest: null }
const settings = { concurrency: asked.concurrency }
const queue = new Queue('send', { connection })
await queue.obliterate({ force: true })
const jobs = messages().map(data => ({ name: 'send', data }))
while (jobs.length > 0) await queue.addBulk(jobs.splice(0, 1000))
const worker = new Worker('send', job => send(job.data), { ...settings, connection, autorun: false })
worker.on('error', error => { throw error })
await worker.waitUntilReady()
await warm()
await ready({ version: version('bullmq'), settings })
await worker.run()
