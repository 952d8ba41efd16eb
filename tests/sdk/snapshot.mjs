// Snapshots and forks: what begins from one has the processes and files of what it was made of, and is somebody else.
// usage: node snapshot.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { finish, promise } from './lib/tests.mjs'

const name = process.argv[2]
const { Sandbox, NotFoundError, SandboxNotFoundError, SandboxError } = await import(name)
const UNKNOWN = 'i00000000000000000000'
const sandbox = await Sandbox.create('base', { timeoutMs: 300_000, envs: { COLOUR: 'blue' }, metadata: { of: 'snapshot' } })
const said = async (of, command) => (await of.commands.run(command)).stdout.trim()
await sandbox.files.write('/home/user/file', 'kept')
const counting = await sandbox.commands.run('while :; do echo >> /tmp/n; sleep 0.1; done', { background: true })

// What is in it, and that it is another than the one it was made of.
async function looksLike(one, content = 'kept') {
  assert.notEqual(one.sandboxId, sandbox.sandboxId)
  assert.equal(await one.files.read('/home/user/file'), content)
  assert.ok((await one.commands.list()).some((process) => process.pid === counting.pid), 'its process, by the same number')
  assert.equal(await said(one, 'echo $COLOUR; hostname'), `blue\n${one.sandboxId}`)
  const count = Number(await said(one, 'wc -l < /tmp/n'))
  await new Promise((next) => setTimeout(next, 500))
  assert.ok(Number(await said(one, 'wc -l < /tmp/n')) > count, 'it counts on')
}

promise('forks_go_on_from_what_runs', async () => {
  const { endAt } = await sandbox.getInfo()
  const forks = await sandbox.fork({ count: 2, timeoutMs: 60_000 })
  assert.equal(forks.length, 2)
  for (const one of forks) {
    assert.ok(one instanceof Sandbox, String(one))
    await looksLike(one)
    const info = await one.getInfo()
    assert.deepEqual(info.metadata, { of: 'snapshot' })
    assert.ok(Math.abs(info.endAt - info.startedAt - 60_000) < 3000)
    await one.files.write('/home/user/file', one.sandboxId)
  }
  assert.equal(await sandbox.files.read('/home/user/file'), 'kept')
  assert.deepEqual((await sandbox.getInfo()).endAt, endAt)
  for (const one of forks) assert.equal(await one.kill(), true)
})

promise('a_fork_is_one_unless_it_says_how_many', async () => {
  const [one, ...more] = await Sandbox.fork(sandbox.sandboxId)
  assert.equal(more.length, 0)
  await looksLike(one)
  await one.kill()
})

promise('what_is_wrong_with_a_fork_is_told', async () => {
  await assert.rejects(Sandbox.fork(UNKNOWN, { count: 2, timeoutMs: 60_000 }), (error) => error instanceof (SandboxNotFoundError ?? NotFoundError))
  await assert.rejects(sandbox.fork({ count: 0 }))
  await assert.rejects(sandbox.fork({ count: 1, timeoutMs: 1000 * 3600 * 1000 }).then((forks) => Promise.reject(forks[0])), SandboxError)
})

promise('a_connection_outlives_a_fork_of_its_sandbox', async () => {
  const [one] = await sandbox.fork()
  await one.kill()
  assert.equal(await said(sandbox, `kill -0 ${counting.pid} && echo alive`), 'alive')
  assert.equal(await sandbox.isRunning(), true)
})

promise('sandboxes_begin_from_snapshots_which_outlive_theirs', async () => {
  const source = await Sandbox.create('base', { timeoutMs: 60_000 })
  await source.files.write('/home/user/file', 'first')
  const kept = await source.createSnapshot({ name: 'of-sdk' })
  assert.match(kept.snapshotId, /^[a-z0-9_-]+\/of-sdk:default$/)
  assert.deepEqual(kept.names, [kept.snapshotId])
  await source.files.write('/home/user/file', 'second')
  const unnamed = await Sandbox.createSnapshot(source.sandboxId)
  assert.match(unnamed.snapshotId, /^[a-z0-9]{20}:default$/)
  await source.kill()
  for (const [from, content] of [[kept, 'first'], [unnamed, 'second'], [kept, 'first']]) {
    const one = await Sandbox.create(from.snapshotId, { timeoutMs: 60_000, envs: { SHAPE: 'round' } })
    assert.equal(await one.files.read('/home/user/file'), content)
    assert.equal(await said(one, 'echo $SHAPE'), 'round')
    await one.kill()
  }
  assert.equal(await Sandbox.deleteSnapshot(unnamed.snapshotId), true)
  assert.equal(await Sandbox.deleteSnapshot(kept.snapshotId), true)
  assert.equal(await Sandbox.deleteSnapshot(kept.snapshotId), false)
  await assert.rejects(Sandbox.create(kept.snapshotId), SandboxError)
})

promise('snapshots_are_listed_in_pages', async () => {
  const made = []
  for (const called of ['one', 'two', 'three']) made.push((await sandbox.createSnapshot({ name: `list-${called}` })).snapshotId)
  const ids = async (paginator) => (await paginator.nextItems()).map((snapshot) => snapshot.snapshotId)
  const pages = sandbox.listSnapshots({ limit: 2 })
  assert.equal(pages.hasNext, true)
  assert.deepEqual(await ids(pages), [made[2], made[1]])
  assert.deepEqual(await ids(pages), [made[0]])
  assert.equal(pages.hasNext, false)
  const some = sandbox.listSnapshots({ limit: 1 })
  await some.nextItems()
  assert.deepEqual(await ids(Sandbox.listSnapshots({ sandboxId: sandbox.sandboxId, limit: 5, nextToken: some.nextToken })), [made[1], made[0]])
  assert.deepEqual(await ids(sandbox.listSnapshots({ nextToken: some.nextToken, name: 'list-one' })), [made[0]])
  assert.deepEqual(await ids(Sandbox.listSnapshots({ name: made[1] })), [made[1]])
  assert.deepEqual(await ids(Sandbox.listSnapshots({ name: 'list-nothing' })), [])
  assert.deepEqual(await ids(Sandbox.listSnapshots({ sandboxId: UNKNOWN })), [])
  for (const id of made) await Sandbox.deleteSnapshot(id)
})

promise('what_is_wrong_with_a_snapshot_is_told', async () => {
  await assert.rejects(Sandbox.createSnapshot(UNKNOWN), (error) => error instanceof (SandboxNotFoundError ?? NotFoundError))
  await assert.rejects(sandbox.createSnapshot({ name: 'Not a name' }), SandboxError)
})

await finish(name, async () => { await sandbox.kill() })
