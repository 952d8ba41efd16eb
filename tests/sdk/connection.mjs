// Each call that takes options of the connection obeys all of them: nothing is in the environment, key and addresses are
// options, every request goes through a proxy that looks at its headers, and is logged.
// usage: node connection.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { finish, promise } from './lib/tests.mjs'
import { openProxy } from './lib/proxy.mjs'

const name = process.argv[2]
const { E2B, Sandbox, Secret, Template, Volume } = await import(name)
const { E2B_API_KEY: apiKey, E2B_API_URL: apiUrl, E2B_SANDBOX_URL: sandboxUrl } = process.env
for (const variable of Object.keys(process.env).filter((key) => key.startsWith('E2B_'))) delete process.env[variable]

const proxy = await openProxy()
let logged = 0
const log = () => { logged++ }
const options = {
  apiKey, apiUrl, sandboxUrl, validateApiKey: false, domain: 'nowhere.test', debug: false, requestTimeoutMs: 120_000, retries: 1,
  proxy: proxy.url,
  // 2.45.0 takes its own answers for another kind of object when it logs, and fails before it asks anyone.
  ...(name === 'e2b-old' ? {} : { logger: { debug: log, info: log, warn: log, error: log } }),
  headers: { 'x-of-headers': 'here' }, apiHeaders: { 'x-of-api-headers': 'here' }, signal: new AbortController().signal,
}
const { signal, ...lasting } = options
const UNKNOWN = 'i00000000000000000000'
const sandbox = await Sandbox.create('base', options)
const id = sandbox.sandboxId
const template = () => Template().fromTemplate('base').runCmd('true')

// A call of the control plane: its request passed the proxy with both headers and the key.
function controls(call, run) {
  promise(`connection_options_reach_${call}`, async () => {
    proxy.take()
    logged = 0
    await run()
    const seen = proxy.take()
    for (const header of ['x-of-headers', 'x-of-api-headers', 'x-api-key']) assert.ok(seen.includes(header), `${header} in ${seen}`)
    assert.ok(logged > 0 || !options.logger, 'logged')
  })
}

controls('Sandbox.create', async () => { await (await Sandbox.create('base', { ...options, timeoutMs: 60_000 })).kill() })
controls('Sandbox.connect', () => Sandbox.connect(id, { ...options, timeoutMs: 60_000, onResume: 'restore' }))
controls('sandbox.connect', () => sandbox.connect({ ...options, timeoutMs: 60_000, onResume: 'restore' }))
controls('Sandbox.getInfo', () => Sandbox.getInfo(id, options))
controls('Sandbox.getFullInfo', () => Sandbox.getFullInfo(id, options))
controls('sandbox.getInfo', () => sandbox.getInfo(options))
controls('Sandbox.setTimeout', () => Sandbox.setTimeout(id, 300_000, options))
controls('sandbox.setTimeout', () => sandbox.setTimeout(300_000, options))
controls('Sandbox.kill', () => Sandbox.kill(UNKNOWN, options))
controls('Sandbox.list', () => Sandbox.list({ ...lasting, limit: 10 }).nextItems(options))
controls('Sandbox.getMetrics', () => Sandbox.getMetrics(id, { ...options, start: new Date(0), end: new Date() }))
controls('sandbox.getMetrics', () => sandbox.getMetrics({ ...options, start: new Date(0), end: new Date() }))
controls('Sandbox.updateNetwork', () => Sandbox.updateNetwork(id, { allowInternetAccess: false }, options))
controls('sandbox.updateNetwork', () => sandbox.updateNetwork({ allowInternetAccess: false }, options))
controls('Sandbox.createSnapshot', () => Sandbox.createSnapshot(id, { ...options, name: 'of-options' }))
controls('sandbox.createSnapshot', () => sandbox.createSnapshot({ ...options, name: 'of-options' }))
controls('Sandbox.listSnapshots', () => Sandbox.listSnapshots({ ...lasting, sandboxId: id, name: 'of-options', limit: 5 }).nextItems(options))
controls('sandbox.listSnapshots', () => sandbox.listSnapshots({ ...lasting, name: 'of-options', limit: 5 }).nextItems(options))
controls('Sandbox.deleteSnapshot', async () => {
  const { snapshotId } = await Sandbox.createSnapshot(id, options)
  assert.equal(await Sandbox.deleteSnapshot(snapshotId, options), true)
})
controls('Sandbox.fork', async () => {
  for (const one of await Sandbox.fork(id, { ...options, count: 1, timeoutMs: 60_000 })) await one.kill()
})
controls('sandbox.fork', async () => {
  for (const one of await sandbox.fork({ ...options, count: 1, timeoutMs: 60_000 })) await one.kill()
})
for (const pause of ['pause', 'betaPause']) {
  controls(`Sandbox.${pause}`, async () => {
    assert.equal(await Sandbox[pause](id, { ...options, keepMemory: true }), true)
    await Sandbox.connect(id, options)
  })
  controls(`sandbox.${pause}`, async () => {
    assert.equal(await sandbox[pause]({ ...options, keepMemory: true }), true)
    await sandbox.connect(options)
  })
}
controls('Template.exists', () => Template.exists('base', options))
controls('Template.aliasExists', () => Template.aliasExists('base', options))
controls('Template.getTags', () => Template.getTags('base', options))
controls('Template.build', () => Template.build(template(), 'of-options', { ...options, cpuCount: 1, memoryMB: 512, skipCache: true }))
controls('Template.buildInBackground', async () => {
  const begun = await Template.buildInBackground(template(), 'of-options', options)
  await Template.getBuildStatus(begun, { ...options, logsOffset: 0 })
})
controls('Template.assignTags', () => Template.assignTags('of-options', ['again'], options))
controls('Template.removeTags', () => Template.removeTags('of-options', ['again'], options))
controls('Volume.create', async () => {
  const volume = await Volume.create('of-options', options)
  await Volume.connect(volume.volumeId, options)
  await Volume.getInfo(volume.volumeId, options)
  await Volume.destroy(volume.volumeId, options)
})
controls('Volume.list', () => Volume.list(options))
controls('Secret.create', async () => {
  await Secret.create('of-options', 'value', { ...options, metadata: { a: 'b' } })
  await Secret.update('of-options', 'other', { ...options, metadata: { a: 'c' } })
  await Secret.getInfo('of-options', options)
  await Secret.exists('of-options', options)
  await Secret.destroy('of-options', options)
})
controls('Secret.list', () => Secret.list({ ...lasting, limit: 5 }).nextItems(options))

promise('a_client_object_binds_its_options', async () => {
  proxy.take()
  const client = new E2B(lasting)
  const one = await client.Sandbox.create('base', { timeoutMs: 60_000 })
  assert.equal((await one.commands.run('echo bound')).stdout, 'bound\n')
  assert.ok((await client.Sandbox.list().nextItems()).some((info) => info.sandboxId === one.sandboxId))
  assert.equal(await client.Sandbox.kill(one.sandboxId), true)
  assert.ok(proxy.take().includes('x-of-headers'))
})

promise('calls_on_files_take_a_user_and_a_form', async () => {
  const as = { user: 'root', requestTimeoutMs: 30_000, signal }
  await sandbox.files.writeFiles([{ path: 'of-root', data: 'text' }], as)
  assert.equal((await sandbox.files.getInfo('/root/of-root', as)).owner, 'root')
  assert.equal(await sandbox.files.exists('of-root', as), true)
  assert.equal(await sandbox.files.read('of-root', { format: 'text', gzip: true, ...as }), 'text')
  assert.equal(await (await sandbox.files.read('of-root', { format: 'blob', ...as })).text(), 'text')
  const stream = await sandbox.files.read('of-root', { format: 'stream', streamIdleTimeoutMs: 10_000, ...as })
  assert.equal(await new Response(stream).text(), 'text')
  await sandbox.files.makeDir('of/root', as)
  assert.ok((await sandbox.files.list('.', { depth: 2, ...as })).some((entry) => entry.path === '/root/of/root'))
  await sandbox.files.rename('of-root', 'of/then', as)
  await sandbox.files.remove('of', as)
  assert.equal(await sandbox.files.exists('of/then', as), false)
  await sandbox.files.write('of-root', 'text', as)
})

promise('files_are_written_in_other_forms', async () => {
  const form = { gzip: true, useOctetStream: true, metadata: { a: 'b' } }
  await sandbox.files.write('of-forms', 'text', form)
  await sandbox.files.writeFiles([{ path: 'of-forms-too', data: 'text' }], form)
  assert.equal(await sandbox.files.read('of-forms'), 'text')
  assert.equal(await sandbox.files.read('of-forms-too'), 'text')
  assert.deepEqual((await sandbox.files.getInfo('of-forms')).metadata, { a: 'b' })
})

promise('requests_to_a_sandbox_take_a_time_limit_and_a_signal', async () => {
  const limits = { requestTimeoutMs: 30_000, signal }
  assert.equal(await sandbox.isRunning(limits), true)
  assert.equal((await sandbox.commands.run('echo here', limits)).stdout, 'here\n')
  await sandbox.commands.list(limits)
  await sandbox.files.write('of-limits', 'text', limits)
  assert.equal(await sandbox.files.read('of-limits', limits), 'text')
  await sandbox.files.list('/tmp', limits)
  await sandbox.files.getInfo('of-limits', limits)
  await sandbox.files.exists('of-limits', limits)
  await sandbox.files.makeDir('of-limits-too', limits)
  await sandbox.files.rename('of-limits', 'of-limits-then', limits)
  await sandbox.files.remove('of-limits-then', limits)
  const cat = await sandbox.commands.run('cat', { background: true, stdin: true, ...limits })
  await sandbox.commands.sendStdin(cat.pid, 'a', limits)
  await cat.sendStdin('b', limits)
  const again = await sandbox.commands.connect(cat.pid, { timeoutMs: 20_000, onStdout() {}, onStderr() {}, ...limits })
  await cat.closeStdin(limits)
  assert.equal((await cat.wait()).stdout, 'ab')
  await again.disconnect()
  const next = await sandbox.commands.run('cat', { background: true, stdin: true, timeoutMs: 20_000 })
  await sandbox.commands.closeStdin(next.pid, limits)
  assert.equal((await next.wait()).exitCode, 0)
  assert.equal(await sandbox.commands.kill(cat.pid, limits), false)
  assert.equal(await sandbox.kill(limits), true)
})

await finish(name, async () => {
  await Sandbox.kill(id, options)
  proxy.close()
})
