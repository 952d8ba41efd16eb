// ComputeSDK with its adapter for E2B, both from npm and unmodified.  What the adapter makes up by itself (the status and times of
// getInfo) or cannot tell (folders in readdir, templates, lists of snapshots) is not looked at.
// usage: node compute.mjs computesdk   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { finish, promise } from './lib/tests.mjs'

const name = process.argv[2]
const { compute } = await import(name)
const { e2b } = await import('@computesdk/e2b')
const provider = e2b({ apiKey: process.env.E2B_API_KEY })
compute.setConfig({ provider })
let sandbox

promise('a_sandbox_is_made_found_and_listed', async () => {
  sandbox = await compute.sandbox.create({ templateId: 'base', timeout: 120_000, envs: { GIVEN: 'at create' }, metadata: { by: 'computesdk' } })
  assert.match(sandbox.sandboxId, /^i[a-z0-9]{20}$/)
  assert.equal(sandbox.provider, 'e2b')
  assert.equal((await compute.sandbox.getById(sandbox.sandboxId)).sandboxId, sandbox.sandboxId)
  assert.equal(await compute.sandbox.getById('i00000000000000000000'), null)
  assert.deepEqual((await compute.sandbox.list()).map((one) => one.sandboxId), [sandbox.sandboxId])
  const info = await sandbox.getInfo()
  assert.deepEqual([info.id, info.provider, info.status], [sandbox.sandboxId, 'e2b', 'running'])
  const native = await sandbox.getInstance().getInfo()
  assert.deepEqual([native.metadata, native.state], [{ by: 'computesdk' }, 'running'])
})

promise('a_sandbox_without_options_is_of_the_default_template', async () => {
  const other = await compute.sandbox.create()
  assert.equal((await other.runCommand('echo here')).stdout, 'here\n')
  await other.destroy()
  assert.equal(await compute.sandbox.getById(other.sandboxId), null)
})

promise('commands_have_output_codes_folders_and_environments', async () => {
  const done = await sandbox.runCommand('echo "$GIVEN $MORE"; pwd; echo wrong >&2; exit 3', { cwd: '/tmp' })
  assert.deepEqual([done.stdout, done.stderr, done.exitCode], ['at create \n/tmp\n', 'wrong\n', 3])
  assert.equal((await sandbox.runCommand('printenv MORE', { env: { MORE: 'of one' } })).stdout, 'of one\n')
  assert.ok(done.durationMs > 0)
  assert.notEqual((await sandbox.runCommand('sleep 20', { timeout: 500 })).exitCode, 0)
  const begun = Date.now()
  await sandbox.runCommand('sleep 20', { background: true })
  assert.ok(Date.now() - begun < 15_000)
})

promise('code_of_a_language_runs_as_its_readme_says', async () => {
  const done = await sandbox.runCommand("python - <<'PY'\nimport json\nprint(json.dumps({'sum': sum(range(5))}))\nPY")
  assert.deepEqual([JSON.parse(done.stdout), done.exitCode], [{ sum: 10 }, 0])
})

promise('files_are_written_read_listed_and_removed', async () => {
  const { filesystem } = sandbox
  await filesystem.mkdir('/tmp/data')
  await filesystem.writeFile('/tmp/data/a b.txt', 'text\nof two lines')
  assert.equal(await filesystem.readFile('/tmp/data/a b.txt'), 'text\nof two lines')
  const [entry] = await filesystem.readdir('/tmp/data')
  assert.deepEqual([entry.name, entry.type, entry.size], ['a b.txt', 'file', 17])
  assert.equal(await filesystem.exists('/tmp/data/a b.txt'), true)
  await filesystem.remove('/tmp/data')
  assert.equal(await filesystem.exists('/tmp/data/a b.txt'), false)
  await assert.rejects(filesystem.readFile('/tmp/data/a b.txt'))
})

promise('an_address_names_the_port_and_the_sandbox', async () => {
  assert.match(await sandbox.getUrl({ port: 3000 }), new RegExp(`^https://3000-${sandbox.sandboxId}\\.`))
  assert.match(await sandbox.getUrl({ port: 3000, protocol: 'http' }), /^http:/)
})

promise('errors_are_told', async () => {
  await assert.rejects(compute.sandbox.create({ templateId: 'no-such-template' }), /no-such-template/)
  await assert.rejects(e2b({ apiKey: 'e2b_' + '0'.repeat(40) }).sandbox.create(), /Failed to create|authentication failed/)
})

promise('a_sandbox_goes_on_from_its_snapshot', async () => {
  await sandbox.runCommand('echo kept > /tmp/kept')
  const snapshot = await compute.snapshot.create(sandbox.sandboxId, { name: 'of-compute' })
  const again = await compute.sandbox.create({ snapshotId: snapshot.id, timeout: 60_000 })
  assert.equal((await again.runCommand('cat /tmp/kept')).stdout, 'kept\n')
  await again.destroy()
})

promise('a_sandbox_is_destroyed_once_and_for_all', async () => {
  await compute.sandbox.destroy(sandbox.sandboxId)
  assert.deepEqual(await compute.sandbox.list(), [])
  await compute.sandbox.destroy(sandbox.sandboxId)
})

await finish(name)
