// The control plane through the published package and nothing else: lists, time limits, metrics and
// errors.  usage: node api.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'

const name = process.argv[2]
const sdk = await import(name)
const { Sandbox, AuthenticationError, RateLimitError } = sdk
const SandboxNotFoundError = sdk.SandboxNotFoundError ?? sdk.NotFoundError
const UNKNOWN = 'i00000000000000000000'
const tests = []
const promise = (title, run) => tests.push([title, run])
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const mine = { suite: 'api', package: name }
let one, two
// What is the server's alone and takes long is tried with the newest package.
const isNewest = name === 'e2b-new'

// What the package has no method for.
const api = async (path, key = process.env.E2B_API_KEY) => {
  const answer = await fetch(process.env.E2B_API_URL + path, { headers: { 'X-API-Key': key } })
  return { status: answer.status, headers: answer.headers, body: await answer.json() }
}

async function untilThere(what, seconds, look) {
  const end = performance.now() + seconds * 1000
  for (;;) {
    const found = await look()
    if (found) return found
    assert.ok(performance.now() < end, `waited ${seconds} s for ${what}`)
    await wait(200)
  }
}

promise('sandboxes_are_paged_in_both_orders', async () => {
  one = await Sandbox.create('base', { timeoutMs: 300_000, metadata: { ...mine, which: 'one' } })
  two = await Sandbox.create('base', { timeoutMs: 300_000, metadata: { ...mine, which: 'two' } })
  const seen = []
  const pages = Sandbox.list({ limit: 1, query: { metadata: mine } })
  while (pages.hasNext) seen.push(...(await pages.nextItems()).map((info) => info.sandboxId))
  assert.deepEqual(seen, [two.sandboxId, one.sandboxId], 'the newest first')
  const rows = (await api('/v2/sandboxes?order=asc&limit=1')).body
  assert.equal(rows[0].sandboxID, one.sandboxId)
})

promise('a_page_stays_where_it_was_when_sandboxes_come_and_go', async () => {
  const pages = Sandbox.list({ limit: 1, query: { metadata: mine } })
  assert.equal((await pages.nextItems())[0].sandboxId, two.sandboxId)
  const three = await Sandbox.create('base', { timeoutMs: 60_000, metadata: mine })
  assert.equal((await pages.nextItems())[0].sandboxId, one.sandboxId)
  await three.kill()
})

promise('sandboxes_are_filtered_by_state_and_metadata', async () => {
  const ids = async (query) => (await Sandbox.list({ query }).nextItems()).map((info) => info.sandboxId)
  assert.deepEqual(await ids({ state: ['running'], metadata: { ...mine, which: 'one' } }), [one.sandboxId])
  assert.deepEqual(await ids({ state: ['paused'], metadata: mine }), [])
  assert.deepEqual(await ids({ metadata: { ...mine, which: 'three' } }), [])
})

promise('a_sandbox_tells_all_about_itself', async () => {
  const info = await one.getInfo()
  assert.equal(info.sandboxId, one.sandboxId)
  assert.equal(info.name, 'base')
  assert.equal(info.state, 'running')
  assert.deepEqual(info.metadata, { ...mine, which: 'one' })
  assert.ok(info.cpuCount >= 1 && info.memoryMB >= 128 && info.envdVersion)
  assert.ok(info.endAt - info.startedAt > 290_000 && info.endAt - info.startedAt <= 300_000)
  assert.equal((await Sandbox.getInfo(one.sandboxId)).sandboxId, one.sandboxId)
})

promise('a_time_limit_is_set_and_connect_only_extends_it', async () => {
  const endAt = async () => (await one.getInfo()).endAt.getTime()
  const first = await endAt()
  await Sandbox.setTimeout(one.sandboxId, 100_000)
  const shorter = await endAt()
  assert.ok(shorter < first)
  await Sandbox.connect(one.sandboxId, { timeoutMs: 30_000 })
  assert.equal(await endAt(), shorter, 'never shortened by connect')
  await Sandbox.connect(one.sandboxId, { timeoutMs: 200_000 })
  assert.ok((await endAt()) > shorter)
})

promise('metrics_come_soon_and_then_every_few_seconds', async () => {
  const began = performance.now()
  const first = await untilThere('a sample', 30, async () => (await one.getMetrics())[0])
  console.log(`   first sample seen after ${Math.round(performance.now() - began)} ms`)
  assert.ok(first.cpuCount >= 1 && first.cpuUsedPct >= 0 && first.cpuUsedPct <= 100)
  assert.ok(first.memTotal > 100e6 && first.memUsed > 0 && first.memUsed < first.memTotal)
  assert.ok(first.diskTotal > 100e6 && first.diskUsed > 0 && first.diskUsed < first.diskTotal)
  const all = await untilThere('three samples', 30, async () => {
    const samples = await Sandbox.getMetrics(one.sandboxId)
    return samples.length >= 3 && samples
  })
  for (let at = 1; at < all.length; at++) {
    const apart = all[at].timestamp - all[at - 1].timestamp
    assert.ok(apart > 0 && apart < 8000, `${apart} ms apart`)
  }
})

if (isNewest) promise('metrics_show_what_a_command_used', async () => {
  await two.commands.run('head -c 60000000 /dev/zero > /dev/shm/hog; timeout 7 sh -c "while :; do :; done" || true')
  const busy = await untilThere('a busy sample', 30, async () => (await two.getMetrics()).find((sample) => sample.cpuUsedPct > 30))
  assert.ok(busy)
  const samples = await two.getMetrics()
  assert.ok(Math.max(...samples.map((sample) => sample.memUsed)) > samples[0].memUsed + 30e6)
})

promise('a_window_without_samples_is_empty', async () => {
  assert.deepEqual(await one.getMetrics({ start: new Date(0), end: new Date(1000) }), [])
})

promise('logs_tell_what_processes_did', async () => {
  await one.commands.run('echo to-out; echo to-err >&2; exit 3').catch(() => {})
  const of = (rows, type) => rows.filter((row) => row.fields.event_type === type)
  const logs = async (query = '') => (await api(`/v2/sandboxes/${one.sandboxId}/logs${query}`)).body.logs
  await untilThere('the end of the process', 70, async () => of(await logs(), 'process_end').some((row) => row.message === 'exit status 3'))
  const rows = await logs()
  assert.ok(of(rows, 'process_start').some((row) => row.message.includes('echo to-out')))
  assert.ok(of(rows, 'stdout').some((row) => row.message === 'to-out' && row.level === 'info' && row.fields.pid))
  assert.ok(of(rows, 'stderr').some((row) => row.message === 'to-err' && row.level === 'warn'))
  assert.deepEqual((await logs('?level=warn')).map((row) => row.message), ['to-err'])
  assert.deepEqual((await logs('?search=TO-OUT&limit=5')).map((row) => row.fields.event_type), ['process_start', 'stdout'])
  assert.deepEqual((await logs('?direction=backward')).map((row) => row.message), rows.map((row) => row.message).reverse())
  const older = (await api(`/sandboxes/${one.sandboxId}/logs`)).body
  assert.equal(JSON.parse(older.logs[0].line).message, older.logEntries[0].message)
})

if (isNewest) promise('a_talkative_process_is_heard_to_its_end', async () => {
  await two.commands.run('seq 1 700')
  const lines = await untilThere('all lines', 30, async () => {
    const rows = (await api(`/v2/sandboxes/${two.sandboxId}/logs`)).body.logs.filter((row) => row.fields.event_type === 'stdout')
    return rows.length >= 700 && rows.map((row) => row.message)
  })
  assert.deepEqual(lines, Array.from({ length: 700 }, (_, at) => String(at + 1)))
})

promise('what_is_unknown_is_told_by_its_class', async () => {
  for (const call of [() => Sandbox.getInfo(UNKNOWN), () => Sandbox.setTimeout(UNKNOWN, 1000), () => Sandbox.getMetrics(UNKNOWN), () => Sandbox.connect(UNKNOWN)])
    await assert.rejects(call(), (error) => error instanceof SandboxNotFoundError || error instanceof sdk.NotFoundError)
  assert.equal(await Sandbox.kill(UNKNOWN), false)
  await assert.rejects(Sandbox.create('no-such-template'), /404: template 'no-such-template' not found/)
  await assert.rejects(Sandbox.create('No/Such:Template'), /400: Invalid template reference/)
  await assert.rejects(Sandbox.create('base', { timeoutMs: 25 * 3600_000 }), /400: Timeout cannot be greater than 24 hours/)
  await assert.rejects(Sandbox.setTimeout(one.sandboxId, 0), /400: Timeout must be greater than 0/)
})

promise('a_wrong_key_is_an_authentication_error', async () => {
  await assert.rejects(Sandbox.list({ apiKey: 'e2b_' + '0'.repeat(40) }).nextItems(), AuthenticationError)
})

promise('a_tenant_at_its_cap_gets_a_rate_limit_error', async () => {
  await assert.rejects(Sandbox.create('base', { apiKey: process.env.CAPPED_KEY }), (error) => {
    assert.ok(error instanceof RateLimitError, String(error))
    assert.match(error.message, /maximum number of concurrent E2B sandboxes \(1\)/)
    return true
  })
})

promise('templates_are_listed_and_found_by_their_name', async () => {
  const rows = (await api('/templates')).body
  const base = rows.find((row) => row.names.includes('base'))
  assert.equal(base.buildStatus, 'ready')
  assert.equal((await api('/v2/templates?limit=1')).body.length, 1)
  assert.equal((await api('/templates/aliases/base')).body.templateID, base.templateID)
  assert.equal((await api('/templates/aliases/nope')).status, 404)
  assert.equal((await api(`/templates/${base.templateID}`)).body.builds[0].buildID, base.buildID)
  if (sdk.Template?.exists) assert.equal(await sdk.Template.exists('base'), true)
  if (sdk.Template?.exists) assert.equal(await sdk.Template.exists('nope'), false)
})

promise('a_team_tells_what_ran', async () => {
  const [team] = (await api('/teams')).body
  const points = (await api(`/teams/${team.teamID}/metrics`)).body
  // The last point may still be of the moment when there were three.
  assert.ok([2, 3].includes(points.at(-1).concurrentSandboxes), JSON.stringify(points.at(-1)))
  assert.equal((await api(`/teams/${team.teamID}/metrics/max?metric=concurrent_sandboxes`)).body.value, 3)
  assert.equal((await api('/teams/ten_another/metrics')).status, 403)
})

promise('an_ended_sandbox_can_still_be_looked_into', async () => {
  assert.equal(await one.kill(), true)
  const events = await untilThere('its end', 10, async () => {
    const rows = (await api(`/events/sandboxes/${one.sandboxId}?orderAsc=true`)).body
    return rows.some((event) => event.type === 'sandbox.lifecycle.killed') && rows
  })
  assert.equal(events[0].type, 'sandbox.lifecycle.created')
  assert.equal(events.at(-1).type, 'sandbox.lifecycle.killed')
  assert.ok(events.some((event) => event.type === 'sandbox.lifecycle.updated' && event.eventData.set_timeout))
  assert.ok((await Sandbox.getMetrics(one.sandboxId)).length >= 3)
  assert.ok((await api(`/v2/sandboxes/${one.sandboxId}/logs`)).body.logs.length >= 4)
  assert.equal((await api(`/v2/sandboxes/${one.sandboxId}/logs`, process.env.CAPPED_KEY)).status, 404, 'nobody else')
  const killed = (await api('/events/sandboxes?types=sandbox.lifecycle.killed&types=sandbox.lifecycle.paused')).body
  assert.ok(killed.every((event) => event.type === 'sandbox.lifecycle.killed'))
  await two.kill()
})

let failed = 0
for (const [title, run] of tests) {
  const began = performance.now()
  try {
    await run()
    console.log(`ok ${name}.${title}`)
  } catch (error) {
    failed++
    console.log(error)
    console.log(`not ok ${name}.${title}`)
  }
  console.log(`   in ${Math.round(performance.now() - began)} ms`)
}
process.exit(failed ? 1 : 0)
