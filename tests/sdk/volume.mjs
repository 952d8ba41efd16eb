// Volumes of E2B's package: made, found and destroyed; their files from outside, and in sandboxes.
// usage: node volume.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { finish, promise } from './lib/tests.mjs'
import { openProxy } from './lib/proxy.mjs'

const name = process.argv[2]
const { E2B, Sandbox, Volume, VolumeError, VolumeFileType, VolumeNotFoundError, VolumePathNotFoundError } = await import(name)
const UNKNOWN = 'vol_00000000000000000000'
const signal = new AbortController().signal
// 2.45.0 cannot log, as elsewhere.
const logger = name === 'e2b-old' ? {} : { logger: { debug() {}, info() {}, warn() {}, error() {} } }
const volume = await Volume.create('first')
const token = volume.token

promise('a_volume_is_made_found_listed_and_destroyed', async () => {
  assert.equal(volume.name, 'first')
  const found = await Volume.connect(volume.volumeId)
  assert.deepEqual([found.volumeId, found.name, found.token], [volume.volumeId, 'first', token])
  const info = await Volume.getInfo(volume.volumeId)
  assert.deepEqual([info.volumeId, info.name, info.token], [volume.volumeId, 'first', token])
  assert.deepEqual(await Volume.list(), [{ volumeId: volume.volumeId, name: 'first' }])
  const second = await Volume.create('second')
  assert.equal(await Volume.destroy(second.volumeId), true)
  assert.equal(await Volume.destroy(second.volumeId), false)
  assert.equal(await Volume.destroy(UNKNOWN), false)
  await assert.rejects(Volume.getInfo(second.volumeId), VolumeNotFoundError)
  await assert.rejects(Volume.connect(UNKNOWN), VolumeNotFoundError)
  assert.deepEqual(await Volume.list(), [{ volumeId: volume.volumeId, name: 'first' }])
})

promise('a_name_that_is_taken_or_none_is_refused', async () => {
  await assert.rejects(Volume.create('first'), (error) => error instanceof VolumeError && /already exists/.test(error.message))
  await assert.rejects(Volume.create('not/good'), (error) => error instanceof VolumeError && /Invalid volume name/.test(error.message))
})

promise('files_are_written_and_read_in_every_form', async () => {
  const entry = await volume.writeFile('/text', 'hällo')
  assert.deepEqual([entry.name, entry.path, entry.type, entry.size], ['text', '/text', VolumeFileType.FILE, 6])
  assert.ok(Math.abs(entry.mtime - Date.now()) < 60_000 && entry.ctime instanceof Date && entry.atime instanceof Date)
  assert.equal(await volume.readFile('/text'), 'hällo')
  assert.equal(await volume.readFile('/text', { format: 'text' }), 'hällo')
  assert.deepEqual(await volume.readFile('/text', { format: 'bytes' }), new TextEncoder().encode('hällo'))
  assert.equal(await (await volume.readFile('/text', { format: 'blob' })).text(), 'hällo')
  assert.equal(await new Response(await volume.readFile('/text', { format: 'stream', streamIdleTimeoutMs: 10_000 })).text(), 'hällo')
  const bytes = new Uint8Array(300_000).map((_, at) => at % 251)
  const stream = new ReadableStream({ start(controller) { controller.enqueue(bytes); controller.enqueue(bytes); controller.close() } })
  for (const [data, n] of [[bytes.buffer, 300_000], [new Blob([bytes]), 300_000], [stream, 600_000], ['', 0]]) {
    assert.equal((await volume.writeFile('/data', data)).size, n)
    const read = await volume.readFile('/data', { format: 'bytes' })
    assert.equal(read.length, n)
    assert.ok(read.every((byte, at) => byte === (at % 300_000) % 251))
  }
  assert.equal(await volume.readFile('/data'), '')
})

promise('folders_are_made_and_listed', async () => {
  const made = await volume.makeDir('/d', { uid: 5, gid: 6, mode: 0o750 })
  assert.deepEqual([made.type, made.uid, made.gid, made.mode], [VolumeFileType.DIRECTORY, 5, 6, 0o750])
  await volume.makeDir('/d/e/f', { force: true })
  await volume.writeFile('/d/e/x', 'x', { uid: 7, gid: 8, mode: 0o600, force: true })
  assert.deepEqual((await volume.list('/d')).map((entry) => entry.path), ['/d/e'])
  const deep = await volume.list('/d', { depth: 3 })
  assert.deepEqual(deep.map((entry) => entry.path), ['/d/e', '/d/e/f', '/d/e/x'])
  assert.deepEqual([deep[2].uid, deep[2].gid, deep[2].mode], [7, 8, 0o600])
})

promise('what_is_known_of_a_path_can_be_changed', async () => {
  await volume.writeFile('/known', 'x')
  assert.equal(await volume.exists('/known'), true)
  assert.equal(await volume.exists('/unknown'), false)
  const set = await volume.updateMetadata('/known', { uid: 1, gid: 2, mode: 0o640 })
  assert.deepEqual([set.uid, set.gid, set.mode], [1, 2, 0o640])
  const info = await volume.getInfo('/known')
  assert.deepEqual([info.uid, info.gid, info.mode, info.size], [1, 2, 0o640, 1])
  await volume.remove('/known')
  assert.equal(await volume.exists('/known'), false)
})

promise('what_is_not_there_is_said', async () => {
  for (const run of [() => volume.readFile('/none'), () => volume.readFile('/none', { format: 'stream' }), () => volume.getInfo('/none'),
    () => volume.list('/none'), () => volume.remove('/none'), () => volume.updateMetadata('/none', { mode: 0o600 }),
    () => volume.makeDir('/none/x'), () => volume.writeFile('/none/x', 'x')]) await assert.rejects(run, VolumePathNotFoundError)
  await volume.writeFile('/taken', 'x')
  await assert.rejects(volume.makeDir('/taken'), (error) => error instanceof VolumeError && /already exists/.test(error.message))
  await assert.rejects(volume.writeFile('/taken', 'y', { force: false }), (error) => error instanceof VolumeError)
  await assert.rejects(volume.list('/taken'), (error) => error instanceof VolumeError && /not a directory/.test(error.message))
  const strange = new Volume(volume.volumeId, 'first', '0'.repeat(48))
  for (const run of [() => strange.readFile('/taken'), () => strange.exists('/taken')])
    await assert.rejects(run, (error) => /token/.test(error.message))
})

promise('each_call_takes_options_of_the_connection', async () => {
  const proxy = await openProxy()
  const options = { proxy: proxy.url, token, domain: 'nowhere.test', debug: false, apiUrl: process.env.E2B_VOLUME_API_URL, requestTimeoutMs: 30_000,
    headers: { 'x-of-headers': 'here' }, signal, ...logger }
  const bare = new Volume(volume.volumeId, 'first', 'of the options')
  await bare.makeDir('/o', { force: true, ...options })
  await bare.writeFile('/o/f', 'x', { ...options })
  assert.equal(await bare.readFile('/o/f', { ...options }), 'x')
  assert.equal(await new Response(await bare.readFile('/o/f', { format: 'stream', streamIdleTimeoutMs: 5000, ...options })).text(), 'x')
  assert.equal((await bare.list('/o', { depth: 1, ...options })).length, 1)
  assert.equal((await bare.getInfo('/o/f', options)).size, 1)
  assert.equal(await bare.exists('/o/f', options), true)
  await bare.updateMetadata('/o/f', { mode: 0o600 }, options)
  await bare.remove('/o', options)
  assert.ok(proxy.take().includes('x-of-headers'))
  proxy.close()
})

promise('a_client_object_has_volumes', async () => {
  const client = new E2B({ apiKey: process.env.E2B_API_KEY, apiUrl: process.env.E2B_API_URL })
  const one = await client.Volume.create('of-client')
  await one.writeFile('/f', 'x')
  assert.equal(await one.readFile('/f'), 'x')
  assert.equal(await client.Volume.destroy(one.volumeId), true)
})

promise('a_sandbox_has_volumes_that_it_names', async () => {
  const other = await Volume.create('by-name')
  await volume.writeFile('/outside', 'from outside')
  const box = await Sandbox.create('base', { timeoutMs: 120_000, volumeMounts: { '/mnt/one': volume, '/mnt/other/place': 'by-name' } })
  try {
    assert.equal((await box.commands.run('cat /mnt/one/outside')).stdout, 'from outside')
    await box.commands.run('mkdir /mnt/other/place/d && echo -n from inside > /mnt/other/place/d/f')
    assert.equal(await other.readFile('/d/f'), 'from inside')
    await box.files.write('/mnt/one/by-envd', 'x'.repeat(100_000))
    assert.equal((await volume.getInfo('/by-envd')).size, 100_000)
    assert.equal(await box.files.read('/mnt/one/by-envd'), 'x'.repeat(100_000))
    assert.deepEqual((await box.getInfo()).volumeMounts, [{ name: 'first', path: '/mnt/one' }, { name: 'by-name', path: '/mnt/other/place' }])
    await assert.rejects(Volume.destroy(other.volumeId), (error) => error instanceof VolumeError && /is mounted in 1 sandbox/.test(error.message))
    assert.equal(await box.pause(), true)
    await box.connect()
    assert.equal((await box.commands.run('cat /mnt/other/place/d/f')).stdout, 'from inside')
  } finally {
    await box.kill()
  }
  assert.equal(await Volume.destroy(other.volumeId), true)
  await assert.rejects(Sandbox.create('base', { volumeMounts: { '/mnt/one': 'by-name' } }), /'by-name' not found/)
})

await finish(name)
