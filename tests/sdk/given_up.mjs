// Calls that last or wait obey their caller: signals, time limits of a request, users; of terminals and of watched folders.
// usage: node given_up.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { finish, promise } from './lib/tests.mjs'

const name = process.argv[2]
const { Sandbox, AuthenticationError, CommandExitError, FilesystemEventType, TimeoutError } = await import(name)
const sandbox = await Sandbox.create('base', { timeoutMs: 300_000 })
const { commands, files, pty } = sandbox
const bytes = (text) => new TextEncoder().encode(text)
const text = (data) => new TextDecoder().decode(data)
const requestTimeoutMs = 30_000
const signal = () => new AbortController().signal

async function until(probe) {
  for (const end = Date.now() + 20_000; !(await probe()); await new Promise((next) => setTimeout(next, 20)))
    assert.ok(Date.now() < end, 'waited in vain for ' + probe)
}

const isListed = async (pid) => (await commands.list()).some((one) => one.pid === pid)

promise('a_folder_is_watched_as_the_user_that_is_named', async () => {
  await files.makeDir('/root/of-root', { user: 'root' })
  const events = []
  const handle = await files.watchDir('of-root', (event) => { events.push(event) }, { user: 'root', signal: signal(), requestTimeoutMs })
  await files.write('/root/of-root/f', 'x', { user: 'root' })
  await until(() => events.some((event) => event.type === FilesystemEventType.CREATE && event.name === 'f'))
  await handle.stop()
  await assert.rejects(files.watchDir('/root', () => {}, { user: 'nobody-there' }), AuthenticationError)
})

promise('a_watch_ends_when_its_signal_says_so', async () => {
  await files.makeDir('watched')
  const stop = new AbortController()
  const events = []
  let exit
  await files.watchDir('watched', (event) => { events.push(event) }, { signal: stop.signal, onExit: (error) => { exit = [error] } })
  await files.write('watched/f', 'x')
  await until(() => events.length > 0)
  stop.abort(new Error('of the test'))
  await until(() => exit)
  const n = events.length
  await files.write('watched/late', 'x')
  assert.equal(events.length, n)
})

promise('what_is_given_up_beforehand_does_not_begin', async () => {
  const given = { signal: AbortSignal.abort(new Error('of the test')) }
  await assert.rejects(files.watchDir('watched', () => {}, given))
  const before = (await commands.list()).length
  await assert.rejects(pty.create({ cols: 80, rows: 24, onData: () => {}, ...given }))
  assert.equal((await commands.list()).length, before)
})

promise('a_terminal_obeys_the_signal_and_the_limit_of_each_request', async () => {
  let shown = ''
  const options = () => ({ signal: signal(), requestTimeoutMs })
  const handle = await pty.create({ cols: 80, rows: 24, onData: (data) => { shown += text(data) }, timeoutMs: 0, ...options() })
  await pty.resize(handle.pid, { cols: 101, rows: 33 }, options())
  await pty.sendInput(handle.pid, bytes('echo "size $(stty size)"\n'), options())
  await until(() => shown.includes('size 33 101'))
  const given = { signal: AbortSignal.abort(new Error('of the test')) }
  await assert.rejects(pty.sendInput(handle.pid, bytes('echo typed-late\n'), given))
  await assert.rejects(pty.resize(handle.pid, { cols: 1, rows: 1 }, given))
  await assert.rejects(pty.kill(handle.pid, given))
  await pty.sendInput(handle.pid, bytes('echo "still $(stty size)"\n'))
  await until(() => shown.includes('still 33 101'))
  assert.ok(!shown.includes('typed-late'))
  assert.equal(await pty.kill(handle.pid, options()), true)
  await assert.rejects(handle.wait(), CommandExitError)
})

promise('a_terminal_outlives_those_who_look_at_it', async () => {
  const handle = await pty.create({ cols: 80, rows: 24, onData: () => {}, timeoutMs: 0 })
  const brief = await pty.connect(handle.pid, { onData: () => {}, timeoutMs: 1000, signal: signal(), requestTimeoutMs })
  await assert.rejects(brief.wait(), TimeoutError)
  const stop = new AbortController()
  const left = await pty.connect(handle.pid, { onData: () => {}, timeoutMs: 0, signal: stop.signal })
  stop.abort(new Error('of the test'))
  await assert.rejects(left.wait())
  assert.equal(await isListed(handle.pid), true)
  await handle.kill()
  await assert.rejects(handle.wait(), CommandExitError)
})

promise('a_new_terminal_is_left_by_its_signal', async () => {
  const stop = new AbortController()
  const handle = await pty.create({ cols: 80, rows: 24, onData: () => {}, timeoutMs: 0, signal: stop.signal })
  stop.abort(new Error('of the test'))
  await assert.rejects(handle.wait())
  await until(async () => !(await isListed(handle.pid)) || pty.kill(handle.pid))
})

await finish(`${name}.given_up`, () => sandbox.kill())
