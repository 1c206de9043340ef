// What the Node peers share: the talk with the bench, the messages, and the POST.
import { readFileSync } from 'node:fs'
import { stringify } from 'node:querystring'
import { createInterface } from 'node:readline'
import { Pool } from 'undici'

// { dsn, redis, url, path, jobs, concurrency }
export const asked = JSON.parse(process.argv[2])

export function messages () {
  return Array.from({ length: asked.jobs }, (_, i) => ({
    to: '+14155550100',
    body: `Hello number ${i}, your appointment is tomorrow at nine`,
    delivery: `01a20d9b-6828-7792-9c2a-${i.toString(16).padStart(12, '0')}`
  }))
}

const headers = {
  authorization: 'Basic ' + 'x'.repeat(44),
  'content-type': 'application/x-www-form-urlencoded',
  accept: 'application/json',
  'user-agent': 'bench'
}

const pool = new Pool(asked.url, { connections: asked.concurrency, pipelining: 1 })

// The POST that Duly's Twilio adapter makes; resolves with the provider's id.
export async function send ({ to, body, delivery }) {
  const form = stringify({
    To: to,
    From: '+15005550006',
    Body: body,
    StatusCallback: `http://127.0.0.1:1/hooks/twilio/main/status?delivery=${delivery}&attempt=1`
  })
  const answer = await pool.request({ method: 'POST', path: asked.path, headers, body: form })
  const { sid } = await answer.body.json()
  if (answer.statusCode !== 201 || !sid) throw new Error(`the stand-in said ${answer.statusCode}`)
  return sid
}

// Opens the connections to the stand-in, as a worker that has run for a while has them.
export async function warm () {
  await Promise.all(messages().slice(0, asked.concurrency).map(send))
}

export function version (name) {
  return JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version
}

// Says that all is filled and connected, and resolves when the bench says go.
export async function ready (facts) {
  console.log(JSON.stringify({ ...facts, runtime: `node ${process.versions.node}` }))
  const lines = createInterface({ input: process.stdin })
  lines.on('close', () => process.exit(0)) // the bench is done with us, or gone
  await new Promise(resolve => lines.once('line', resolve))
}
