// What a program written for E2B does first, through the published package and nothing else:
// sandboxes, commands and files.  usage: node spine.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'

const name = process.argv[2]
const { Sandbox, CommandExitError, NotFoundError, TimeoutError } = await import(name)
const tests = []
const promise = (title, run) => tests.push([title, run])
let sandbox

promise('a_sandbox_is_created_and_runs', async () => {
  sandbox = await Sandbox.create('base', { timeoutMs: 300_000, metadata: { suite: 'sdk', 'a b': 'c&d' }, envs: { FROM_CREATE: 'yes' } })
  assert.match(sandbox.sandboxId, /^[a-z0-9]+$/)
  assert.equal(await sandbox.isRunning(), true)
})

promise('a_command_gives_its_output_and_exit_code', async () => {
  const done = await sandbox.commands.run('echo out; echo err >&2')
  assert.equal(done.exitCode, 0)
  assert.equal(done.stdout, 'out\n')
  assert.equal(done.stderr, 'err\n')
})

promise('a_failing_command_throws_with_its_exit_code', async () => {
  await assert.rejects(sandbox.commands.run('echo why >&2; exit 3'), (error) => {
    assert.ok(error instanceof CommandExitError)
    assert.equal(error.exitCode, 3)
    assert.equal(error.stderr, 'why\n')
    return true
  })
})

promise('environment_working_directory_and_user_are_as_asked', async () => {
  const run = async (command, options) => (await sandbox.commands.run(command, options)).stdout.trim()
  assert.equal(await run('echo $FROM_CREATE $MORE', { envs: { MORE: 'too' } }), 'yes too')
  assert.equal(await run('pwd', { cwd: '/tmp' }), '/tmp')
  assert.equal(await run('pwd'), '/home/user')
  assert.equal(await run('whoami; id -u'), 'user\n1000')
  assert.equal(await run('whoami; echo $HOME', { user: 'root' }), 'root\n/root')
  assert.equal(await run('sudo id -u'), '0')
  await assert.rejects(sandbox.commands.run('true', { cwd: '/nowhere' }))
  await assert.rejects(sandbox.commands.run('true', { user: 'nobody-there' }))
})

promise('output_is_streamed', async () => {
  const seen = []
  const done = await sandbox.commands.run('echo 1; echo 2 >&2; echo 3', {
    onStdout: (text) => seen.push(['out', text]), onStderr: (text) => seen.push(['err', text]) })
  assert.equal(done.stdout, '1\n3\n')
  assert.equal(seen.filter(([kind]) => kind === 'out').map(([, text]) => text).join(''), '1\n3\n')
  assert.equal(seen.filter(([kind]) => kind === 'err').map(([, text]) => text).join(''), '2\n')
})

promise('a_background_command_takes_input_and_is_listed', async () => {
  const command = await sandbox.commands.run('cat', { background: true, stdin: true })
  const listed = await sandbox.commands.list()
  assert.ok(listed.some((process) => process.pid === command.pid))
  await sandbox.commands.sendStdin(command.pid, 'through the pipe')
  await sandbox.commands.closeStdin(command.pid)
  const done = await command.wait()
  assert.equal(done.stdout, 'through the pipe')
  assert.ok(!(await sandbox.commands.list()).some((process) => process.pid === command.pid))
})

promise('a_background_command_can_be_reconnected_to', async () => {
  const command = await sandbox.commands.run('read line; echo got $line', { background: true, stdin: true })
  await command.disconnect()
  const again = await sandbox.commands.connect(command.pid)
  await sandbox.commands.sendStdin(command.pid, 'it\n')
  assert.equal((await again.wait()).stdout, 'got it\n')
})

promise('a_command_can_be_killed', async () => {
  const command = await sandbox.commands.run('sleep 300', { background: true })
  assert.equal(await command.kill(), true)
  await assert.rejects(command.wait(), CommandExitError)
  assert.equal(await sandbox.commands.kill(command.pid), false)
})

promise('a_command_past_its_time_limit_is_ended', async () => {
  await assert.rejects(sandbox.commands.run('sleep 300', { timeoutMs: 1000 }), TimeoutError)
})

promise('files_are_written_read_listed_moved_and_removed', async () => {
  const info = await sandbox.files.write('hello.txt', 'hello')
  assert.equal(info.path, '/home/user/hello.txt')
  assert.equal(await sandbox.files.read('hello.txt'), 'hello')
  assert.equal(await sandbox.files.exists('hello.txt'), true)
  assert.equal(await sandbox.files.exists('other.txt'), false)
  assert.equal(await sandbox.files.makeDir('deep/er'), true)
  assert.equal(await sandbox.files.makeDir('deep/er'), false)
  await sandbox.files.write('/home/user/deep/er/there/new.bin', new Uint8Array([0, 1, 2, 255]).buffer)
  assert.deepEqual([...(await sandbox.files.read('deep/er/there/new.bin', { format: 'bytes' }))], [0, 1, 2, 255])
  const names = (await sandbox.files.list('/home/user')).map((entry) => entry.name)
  assert.ok(names.includes('hello.txt') && names.includes('deep'))
  const moved = await sandbox.files.rename('hello.txt', 'deep/moved.txt')
  assert.equal(moved.path, '/home/user/deep/moved.txt')
  const stat = await sandbox.files.getInfo('deep/moved.txt')
  assert.equal(stat.size, 5)
  assert.equal(stat.owner, 'user')
  await sandbox.files.remove('deep')
  assert.equal(await sandbox.files.exists('deep'), false)
  await assert.rejects(sandbox.files.read('deep/moved.txt'), NotFoundError)
})

promise('several_files_and_large_ones_arrive_whole', async () => {
  await sandbox.files.write([{ path: 'a.txt', data: 'A' }, { path: 'b/c.txt', data: 'BC' }])
  assert.equal(await sandbox.files.read('a.txt'), 'A')
  assert.equal(await sandbox.files.read('b/c.txt'), 'BC')
  const large = new Uint8Array(3 * 1024 * 1024 + 17).map((_, at) => (at * 31) & 255)
  await sandbox.files.write('large.bin', large.buffer)
  const back = await sandbox.files.read('large.bin', { format: 'bytes' })
  assert.equal(Buffer.compare(Buffer.from(back), Buffer.from(large)), 0)
})

promise('sandboxes_are_listed_and_filtered', async () => {
  const page = async (options) => (await Sandbox.list(options).nextItems()).map((info) => info.sandboxId)
  assert.ok((await page()).includes(sandbox.sandboxId))
  assert.deepEqual(await page({ query: { metadata: { suite: 'sdk', 'a b': 'c&d' } } }), [sandbox.sandboxId])
  assert.deepEqual(await page({ query: { metadata: { suite: 'another' } } }), [])
})

promise('the_time_limit_is_extended_and_connect_keeps_it', async () => {
  const before = await sandbox.getInfo()
  await sandbox.setTimeout(600_000)
  const after = await sandbox.getInfo()
  assert.ok(after.endAt > before.endAt)
  const again = await Sandbox.connect(sandbox.sandboxId)
  assert.equal((await again.commands.run('echo $FROM_CREATE')).stdout, 'yes\n')
  assert.equal((await again.getInfo()).endAt.getTime(), after.endAt.getTime())
})

promise('what_does_not_exist_is_told_as_such', async () => {
  await assert.rejects(Sandbox.create('no-such-template'))
  await assert.rejects(Sandbox.connect('i00000000000000000000'))
  assert.equal(await Sandbox.kill('i00000000000000000000'), false)
})

promise('a_killed_sandbox_is_gone', async () => {
  assert.equal(await sandbox.kill(), true)
  assert.equal(await sandbox.kill(), false)
  assert.equal(await sandbox.isRunning(), false)
  await assert.rejects(sandbox.commands.run('true'))
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
