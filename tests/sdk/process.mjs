// Commands and terminals, through the published package and nothing else.
// usage: node process.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'

const name = process.argv[2]
const { Sandbox, CommandExitError, AuthenticationError, InvalidArgumentError, NotFoundError, SandboxError, TimeoutError } =
  await import(name)
const tests = []
const promise = (title, run) => tests.push([title, run])
const sandbox = await Sandbox.create('base', { timeoutMs: 300_000, envs: { FROM_CREATE: 'yes', BOTH: 'sandbox' } })
const commands = sandbox.commands, pty = sandbox.pty
const stdout = async (command, options) => (await commands.run(command, options)).stdout
const bytes = (text) => new TextEncoder().encode(text)

// The error that a call is rejected with.
async function rejection(kind, call) {
  let raised
  await assert.rejects(call, (error) => { raised = error; return error instanceof kind })
  return raised
}

// A terminal, with what it has shown so far.
async function open(options = {}) {
  const screen = { text: '' }
  const onData = (data) => { screen.text += new TextDecoder().decode(data) }
  screen.handle = await pty.create({ cols: 80, rows: 24, onData, ...options })
  screen.pid = screen.handle.pid
  screen.type = (text) => pty.sendInput(screen.pid, bytes(text))
  return screen
}

async function until(probe, seconds = 20) {
  for (const end = Date.now() + seconds * 1000; !(await probe()); await sleep(20))
    assert.ok(Date.now() < end, 'waited in vain for ' + probe)
}

const shows = (screen, wanted) => until(() => screen.text.includes(wanted))

promise('output_errors_and_exit_codes_come_back', async () => {
  const done = await commands.run('echo out; echo err >&2; printf "\\303\\274"')
  assert.deepEqual([done.exitCode, done.stdout, done.stderr, done.error], [0, 'out\n\u00fc', 'err\n', undefined])
  for (const code of [1, 2, 127, 255]) {
    const error = await rejection(CommandExitError, commands.run(`echo before; echo why >&2; exit ${code}`))
    assert.deepEqual([error.exitCode, error.stdout, error.stderr, error.error], [code, 'before\n', 'why\n', `exit status ${code}`])
  }
  assert.equal((await rejection(CommandExitError, commands.run('no-such-program-anywhere'))).exitCode, 127)
})

promise('signals_are_told_as_such', async () => {
  for (const [signal, text] of [['KILL', 'killed'], ['TERM', 'terminated'], ['HUP', 'hangup'], ['USR1', 'user defined signal 1']]) {
    const error = await rejection(CommandExitError, commands.run(`kill -${signal} $$`))
    assert.deepEqual([error.exitCode, error.error], [-1, `signal: ${text}`])
  }
})

promise('callbacks_hear_output_while_it_is_made', async () => {
  const heard = [], began = Date.now()
  const done = await commands.run('echo 1; sleep 1; echo 2 >&2; sleep 1; echo 3', {
    onStdout: (text) => heard.push([text, Date.now()]), onStderr: (text) => heard.push([text, Date.now()]) })
  assert.deepEqual(heard.map(([text]) => text), ['1\n', '2\n', '3\n'])
  assert.ok(heard[2][1] - heard[0][1] > 1500 && heard[0][1] - began < 1500)
  assert.equal(done.stdout + done.stderr, '1\n3\n2\n')
})

promise('large_output_arrives_whole', async () => {
  const text = await stdout('seq 1 400000')
  assert.equal(text.length, 2688895)
  assert.ok(text.startsWith('1\n2\n') && text.endsWith('\n400000\n'))
  const both = await commands.run('seq 1 50000; seq 1 50000 >&2')
  assert.equal(both.stdout, both.stderr)
})

promise('environment_is_login_sandbox_request', async () => {
  assert.equal(await stdout('echo $FROM_CREATE $BOTH $MINE', { envs: { BOTH: 'request', MINE: 'a b' } }), 'yes request a b\n')
  assert.equal(await stdout('echo $HOME $USER $LOGNAME'), '/home/user user user\n')
  assert.equal(await stdout('echo $HOME $USER $LOGNAME', { user: 'root' }), '/root root root\n')
  assert.match(await stdout('echo $PATH'), /\/usr\/local\/bin:.*\/bin/)
  assert.equal(await stdout('echo $MINE'), '\n')
})

promise('users_have_their_identity_and_groups', async () => {
  assert.equal(await stdout('id -u; id -un; id -gn'), '1000\nuser\nuser\n')
  assert.equal(await stdout('id -u; id -G', { user: 'root' }), '0\n0\n')
  assert.equal(await stdout('id -u', { user: 'nobody', cwd: '/' }), '65534\n')
  await commands.run('groupadd -g 4321 extra && usermod -aG extra user', { user: 'root' })
  assert.ok((await stdout('id -G')).trim().split(' ').includes('4321'))
  await rejection(AuthenticationError, commands.run('true', { user: 'nobody-there' }))
})

promise('folders_are_where_they_are_asked_for', async () => {
  assert.equal(await stdout('pwd'), '/home/user\n')
  assert.equal(await stdout('pwd', { cwd: '/etc' }), '/etc\n')
  assert.equal(await stdout('mkdir -p below; pwd'), '/home/user\n')
  assert.equal(await stdout('pwd', { cwd: 'below' }), '/home/user/below\n')
  assert.equal(await stdout('pwd', { cwd: '~/below' }), '/home/user/below\n')
  const error = await rejection(InvalidArgumentError, commands.run('true', { cwd: '/nowhere' }))
  assert.match(error.message, /cwd '\/nowhere' does not exist/)
  await rejection(InvalidArgumentError, commands.run('true', { cwd: '/etc/passwd' }))
  await rejection(SandboxError, commands.run('true', { cwd: '/root' }))
})

promise('processes_have_an_ordinary_rank', async () => {
  assert.equal(await stdout('cat /proc/self/oom_score_adj; nice'), '100\n0\n')
})

promise('background_commands_are_listed_and_leave_the_list', async () => {
  const command = await commands.run('sleep 300', { background: true, envs: { A: 'b' }, cwd: '/tmp' })
  const info = (await commands.list()).find(({ pid }) => pid === command.pid)
  assert.deepEqual([info.cmd, info.args, info.envs, info.cwd], ['/bin/bash', ['-l', '-c', 'sleep 300'], { A: 'b' }, '/tmp'])
  assert.equal(await commands.kill(command.pid), true)
  assert.ok(!(await commands.list()).some(({ pid }) => pid === command.pid))
  assert.equal(await commands.kill(command.pid), false)
  const error = await rejection(CommandExitError, command.wait())
  assert.deepEqual([error.exitCode, error.error], [-1, 'signal: killed'])
})

promise('a_killed_process_is_gone_when_kill_returns', async () => {
  for (let i = 0; i < 5; i++) {
    const command = await commands.run('sleep 300', { background: true })
    await command.kill()
    await rejection(CommandExitError, commands.run(`kill -0 ${command.pid}`))
    await rejection(CommandExitError, command.wait())
  }
})

promise('a_kill_is_not_held_up_by_grandchildren', async () => {
  const command = await commands.run('sleep 301 & sleep 301 & echo ready; wait', { background: true })
  await until(() => command.stdout === 'ready\n')
  await command.kill()
  const began = Date.now()
  await rejection(CommandExitError, command.wait())
  assert.ok(Date.now() - began < 5000)
  assert.equal((await stdout('pkill -cf "sleep 301"')).trim(), '2')
})

promise('input_reaches_a_process_until_it_is_closed', async () => {
  const command = await commands.run('cat; echo end', { background: true, stdin: true })
  await commands.sendStdin(command.pid, 'first ')
  await commands.sendStdin(command.pid, 'second ')
  await commands.sendStdin(command.pid, 'x'.repeat(200_000))
  await commands.closeStdin(command.pid)
  assert.equal((await command.wait()).stdout, 'first second ' + 'x'.repeat(200_000) + 'end\n')
  await rejection(NotFoundError, commands.sendStdin(command.pid, 'late'))
  await rejection(NotFoundError, commands.closeStdin(999_999))
})

promise('without_stdin_a_process_reads_nothing', async () => {
  assert.equal(await stdout('cat; echo end'), 'end\n')
  const command = await commands.run('sleep 300', { background: true, stdin: false })
  await rejection(SandboxError, commands.sendStdin(command.pid, 'x'))
  await command.kill()
  await rejection(CommandExitError, command.wait())
})

promise('a_command_is_left_and_reconnected_to', async () => {
  const command = await commands.run('while read line; do echo got $line; done', { background: true, stdin: true })
  await command.disconnect()
  let heard = ''
  const again = await commands.connect(command.pid, { onStdout: (text) => { heard += text } })
  const third = await commands.connect(command.pid)
  assert.equal(again.pid, command.pid)
  await commands.sendStdin(command.pid, 'it\n')
  await until(() => heard === 'got it\n' && third.stdout === 'got it\n')
  await commands.closeStdin(command.pid)
  assert.equal((await again.wait()).stdout, 'got it\n')
  assert.equal((await third.wait()).exitCode, 0)
})

promise('an_end_is_kept_for_those_who_connect_late', async () => {
  const command = await commands.run('sleep 0.5; exit 5', { background: true })
  await command.disconnect()
  await sleep(1500)
  const late = await commands.connect(command.pid)
  assert.equal((await rejection(CommandExitError, late.wait())).exitCode, 5)
  await rejection(NotFoundError, commands.connect(999_999))
})

promise('time_limits_end_processes_and_say_so', async () => {
  await rejection(TimeoutError, commands.run('echo $$ > pid; exec sleep 300', { timeoutMs: 1500 }))
  await until(async () => (await stdout('kill -0 $(cat pid) 2>&1 || true')).includes('No such process'))
  const command = await commands.run('sleep 300', { background: true, timeoutMs: 1000 })
  await rejection(TimeoutError, command.wait())
  await until(async () => !(await commands.list()).some(({ pid }) => pid === command.pid))
  assert.equal(await stdout('sleep 2; echo done', { timeoutMs: 0 }), 'done\n')
})

promise('many_commands_run_at_a_time', async () => {
  const runs = Array.from({ length: 20 }, (_, at) => stdout(`sleep 0.5; echo ${at}`))
  assert.deepEqual(await Promise.all(runs), Array.from({ length: 20 }, (_, at) => `${at}\n`))
})

promise('a_terminal_is_a_login_shell', async () => {
  const screen = await open({ envs: { MINE: 'own' }, cwd: '/tmp' })
  await screen.type('echo "<$TERM $LANG $MINE $FROM_CREATE $(pwd) $(id -un) $(stty size)>"\n')
  await shows(screen, '<xterm-256color C.UTF-8 own yes /tmp user 24 80>')
  await screen.type('shopt -q login_shell && tty && test -O $(tty) && echo "mine $?"\n')
  await shows(screen, 'mine 0')
  const info = (await commands.list()).find(({ pid }) => pid === screen.pid)
  assert.deepEqual([info.cmd, info.args], ['/bin/bash', ['-i', '-l']])
  await screen.type('exit\n')
  assert.equal((await screen.handle.wait()).exitCode, 0)
})

promise('a_terminals_end_has_its_code', async () => {
  const screen = await open({ user: 'root' })
  await screen.type('whoami; exit 7\n')
  assert.equal((await rejection(CommandExitError, screen.handle.wait())).exitCode, 7)
  assert.ok(screen.text.includes('root'))
})

promise('a_terminal_is_resized', async () => {
  const screen = await open()
  await pty.resize(screen.pid, { cols: 132, rows: 50 })
  await screen.type('echo "size $(stty size)"\n')
  await shows(screen, 'size 50 132')
  await screen.handle.kill()
  await rejection(CommandExitError, screen.handle.wait())
  await rejection(NotFoundError, pty.resize(screen.pid, { cols: 1, rows: 1 }))
})

promise('keys_reach_what_runs_in_the_foreground', async () => {
  const screen = await open()
  await screen.type('sleep 300\n')
  await shows(screen, 'sleep 300')
  await until(async () => (await commands.run('pgrep -x sleep || true')).stdout !== '')
  await screen.type('\x03')
  await screen.type('echo "code $?"\n')
  await shows(screen, 'code 130')
  assert.equal(await pty.kill(screen.pid), true)
  assert.equal(await pty.kill(screen.pid), false)
  assert.equal((await rejection(CommandExitError, screen.handle.wait())).error, 'signal: killed')
})

promise('a_terminal_is_left_and_reconnected_to', async () => {
  const screen = await open({ timeoutMs: 0 })
  await screen.type('export KEPT=it\n')
  await shows(screen, 'KEPT')
  await screen.handle.disconnect()
  let text = ''
  const again = await pty.connect(screen.pid, { onData: (data) => { text += new TextDecoder().decode(data) } })
  await screen.type('echo "kept $KEPT"\n')
  await until(() => text.includes('kept it'))
  await again.kill()
  await rejection(CommandExitError, again.wait())
})

promise('what_a_terminal_cannot_do_is_refused', async () => {
  const screen = await open()
  await rejection(SandboxError, commands.sendStdin(screen.pid, 'x'))
  await rejection(SandboxError, commands.closeStdin(screen.pid))
  await screen.handle.kill()
  await rejection(CommandExitError, screen.handle.wait())
  const command = await commands.run('sleep 300', { background: true })
  await rejection(SandboxError, pty.resize(command.pid, { cols: 1, rows: 1 }))
  await rejection(SandboxError, pty.sendInput(command.pid, bytes('x')))
  await command.kill()
  await rejection(CommandExitError, command.wait())
  await rejection(NotFoundError, pty.sendInput(999_999, bytes('x')))
})

promise('a_terminal_past_its_time_limit_is_ended', async () => {
  const screen = await open({ timeoutMs: 1500 })
  await rejection(TimeoutError, screen.handle.wait())
  await until(async () => !(await commands.list()).some(({ pid }) => pid === screen.pid))
})

promise('a_killed_sandbox_ends_what_waits_in_it', async () => {
  const command = await commands.run('sleep 300', { background: true })
  const waiting = rejection(Error, command.wait())
  await sandbox.kill()
  await waiting
})

let failed = 0
for (const [title, run] of tests) {
  const began = performance.now()
  try {
    await run()
    console.log(`ok ${name}.process.${title}`)
  } catch (error) {
    failed++
    console.log(error)
    console.log(`not ok ${name}.process.${title}`)
  }
  console.log(`   in ${Math.round(performance.now() - began)} ms`)
}
await Sandbox.kill(sandbox.sandboxId)
process.exit(failed ? 1 : 0)
