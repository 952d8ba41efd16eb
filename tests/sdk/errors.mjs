// What goes wrong, method by method: with a key that is none, about what is not there, and of a sandbox that is over.  Each says so
// by the class of error that the package has for it, and soon.  usage: node errors.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { finish, promise } from './lib/tests.mjs'

const name = process.argv[2]
const sdk = await import(name)
const { BuildError, E2B, Sandbox, Secret, Template, Volume, AuthenticationError, FileNotFoundError, InvalidArgumentError, NotFoundError, SandboxError, TemplateError,
  TimeoutError, SecretNotFoundError, VolumeNotFoundError } = sdk
const SandboxNotFoundError = sdk.SandboxNotFoundError ?? NotFoundError
const UNKNOWN = 'i00000000000000000000'
const NOBODY = 4_000_000 // no process has this number
const strange = { apiKey: 'e2b_' + '0'.repeat(40) }
const template = () => Template().fromTemplate('base').runCmd('true')
const size = { cpuCount: 1, memoryMB: 512 }

// Each call of a list is refused by one of these classes, within ten seconds.
function refused(title, classes, calls) {
  for (const [call, run] of Object.entries(calls)) {
    promise(`${title}.${call}`, async () => {
      const began = performance.now()
      await assert.rejects(async () => run(), (error) => {
        assert.ok(classes.some((one) => one && error instanceof one), `${error?.constructor?.name}: ${error?.message}`)
        return true
      })
      assert.ok(performance.now() - began < 10_000, 'it took its time')
    })
  }
}

// Only what this version of the package has.
const there = (calls) => Object.fromEntries(Object.entries(calls).filter(([call]) => {
  const [owner, method] = call.split('.')
  return typeof { Sandbox, Secret, Template, Volume }[owner]?.[method] === 'function' || !(owner in { Sandbox, Secret, Template, Volume })
}))

refused('a_key_that_is_none', [AuthenticationError], there({
  'Sandbox.create': () => Sandbox.create('base', strange),
  'Sandbox.connect': () => Sandbox.connect(UNKNOWN, strange),
  'Sandbox.list': () => Sandbox.list(strange).nextItems(),
  'Sandbox.getInfo': () => Sandbox.getInfo(UNKNOWN, strange),
  'Sandbox.getFullInfo': () => Sandbox.getFullInfo(UNKNOWN, strange),
  'Sandbox.setTimeout': () => Sandbox.setTimeout(UNKNOWN, 1000, strange),
  'Sandbox.kill': () => Sandbox.kill(UNKNOWN, strange),
  'Sandbox.getMetrics': () => Sandbox.getMetrics(UNKNOWN, strange),
  'Sandbox.updateNetwork': () => Sandbox.updateNetwork(UNKNOWN, {}, strange),
  'Sandbox.pause': () => Sandbox.pause(UNKNOWN, strange),
  'Sandbox.betaPause': () => Sandbox.betaPause(UNKNOWN, strange),
  'Sandbox.createSnapshot': () => Sandbox.createSnapshot(UNKNOWN, strange),
  'Sandbox.listSnapshots': () => Sandbox.listSnapshots(strange).nextItems(),
  'Sandbox.deleteSnapshot': () => Sandbox.deleteSnapshot('none', strange),
  'Sandbox.fork': () => Sandbox.fork(UNKNOWN, strange),
  'Secret.create': () => Secret.create('name', 'value', strange),
  'Secret.update': () => Secret.update('name', 'value', strange),
  'Secret.getInfo': () => Secret.getInfo('name', strange),
  'Secret.exists': () => Secret.exists('name', strange),
  'Secret.destroy': () => Secret.destroy('name', strange),
  'Secret.list': () => Secret.list(strange).nextItems(),
  'Template.build': () => Template.build(template(), 'of-errors', { ...size, ...strange }),
  'Template.buildInBackground': () => Template.buildInBackground(template(), 'of-errors', { ...size, ...strange }),
  'Template.getBuildStatus': () => Template.getBuildStatus({ templateId: 'none', buildId: '00000000-0000-4000-8000-000000000000' }, strange),
  'Template.exists': () => Template.exists('base', strange),
  'Template.aliasExists': () => Template.aliasExists('base', strange),
  'Template.getTags': () => Template.getTags('base', strange),
  'Template.assignTags': () => Template.assignTags('base', ['x'], strange),
  'Template.removeTags': () => Template.removeTags('base', ['x'], strange),
  'Volume.create': () => Volume.create('of-errors', strange),
  'Volume.connect': () => Volume.connect('vol_none', strange),
  'Volume.getInfo': () => Volume.getInfo('vol_none', strange),
  'Volume.list': () => Volume.list(strange),
  'Volume.destroy': () => Volume.destroy('vol_none', strange),
}))

refused('a_sandbox_that_is_not_there', [SandboxNotFoundError, NotFoundError], there({
  'Sandbox.connect': () => Sandbox.connect(UNKNOWN),
  'Sandbox.getInfo': () => Sandbox.getInfo(UNKNOWN),
  'Sandbox.getFullInfo': () => Sandbox.getFullInfo(UNKNOWN),
  'Sandbox.setTimeout': () => Sandbox.setTimeout(UNKNOWN, 1000),
  'Sandbox.getMetrics': () => Sandbox.getMetrics(UNKNOWN),
  'Sandbox.updateNetwork': () => Sandbox.updateNetwork(UNKNOWN, { allowInternetAccess: false }),
  'Sandbox.pause': () => Sandbox.pause(UNKNOWN),
  'Sandbox.betaPause': () => Sandbox.betaPause(UNKNOWN),
  'Sandbox.createSnapshot': () => Sandbox.createSnapshot(UNKNOWN),
}))

promise('what_is_not_there_cannot_be_taken_away', async () => {
  assert.equal(await Sandbox.kill(UNKNOWN), false)
  assert.equal(await Sandbox.deleteSnapshot('no-such-snapshot'), false)
  assert.equal(await Secret?.destroy?.('no-such-secret') ?? false, false)
  assert.equal(await Volume.destroy('vol_none'), false)
  assert.equal(await Template.exists('no-such-template'), false)
})

refused('a_template_a_volume_and_a_secret_that_are_not_there', [NotFoundError, TemplateError, BuildError, VolumeNotFoundError, SecretNotFoundError], there({
  'Template.getTags': () => Template.getTags('no-such-template'),
  'Template.assignTags': () => Template.assignTags('no-such-template:v1', ['x']),
  'Template.removeTags': () => Template.removeTags('no-such-template', ['x']),
  'Template.getBuildStatus': () => Template.getBuildStatus({ templateId: 'no-such-template', buildId: '00000000-0000-4000-8000-000000000000' }),
  'Volume.connect': () => Volume.connect('vol_none'),
  'Volume.getInfo': () => Volume.getInfo('vol_none'),
  'Secret.getInfo': () => Secret.getInfo('no-such-secret'),
  'Secret.update': () => Secret.update('no-such-secret', 'value'),
}))

promise('a_text_that_cannot_be_made_is_told_at_once', async () => {
  await assert.rejects(sdk.getSignature({ path: 'f', operation: 'read', user: 'user' }), /Access token is not set/)
  assert.throws(() => Secret.fill(''), InvalidArgumentError)
  assert.throws(() => Template.toDockerfile(template()), /built from another template/)
})

// ---- in a sandbox that runs ----

const sandbox = await Sandbox.create('base', { timeoutMs: 120_000 })
const terminal = { cols: 80, rows: 24, onData() {} }

refused('a_process_that_is_not_there', [NotFoundError], {
  'commands.connect': () => sandbox.commands.connect(NOBODY),
  'commands.sendStdin': () => sandbox.commands.sendStdin(NOBODY, 'x'),
  'commands.closeStdin': () => sandbox.commands.closeStdin(NOBODY),
  'pty.connect': () => sandbox.pty.connect(NOBODY),
  'pty.sendInput': () => sandbox.pty.sendInput(NOBODY, new Uint8Array([120])),
  'pty.resize': () => sandbox.pty.resize(NOBODY, { cols: 1, rows: 1 }),
})

promise('a_process_that_is_not_there_cannot_be_killed', async () => {
  assert.equal(await sandbox.commands.kill(NOBODY), false)
  assert.equal(await sandbox.pty.kill(NOBODY), false)
})

promise('a_handle_of_what_has_ended_says_so', async () => {
  const handle = await sandbox.commands.run('cat', { background: true, stdin: true })
  assert.equal(await handle.kill(), true)
  await assert.rejects(handle.wait())
  await assert.rejects(handle.sendStdin('x'), NotFoundError)
  await assert.rejects(handle.closeStdin(), NotFoundError)
  assert.equal(await handle.kill(), false)
})

refused('a_user_a_folder_and_a_time_that_cannot_be', [AuthenticationError, InvalidArgumentError, TimeoutError, FileNotFoundError], {
  'commands.run.user': () => sandbox.commands.run('true', { user: 'nobody-there' }),
  'commands.run.cwd': () => sandbox.commands.run('true', { cwd: '/nowhere' }),
  'commands.run.timeoutMs': () => sandbox.commands.run('sleep 30', { timeoutMs: 500 }),
  'pty.create.user': () => sandbox.pty.create({ ...terminal, user: 'nobody-there' }),
  'files.writeFiles': () => sandbox.files.writeFiles([{ path: '/home/user', data: 'x' }]),
  'files.exists.user': () => sandbox.files.exists('/home', { user: 'nobody-there' }),
  'files.remove.user': () => sandbox.files.remove('x', { user: 'nobody-there' }),
  'files.makeDir.file': async () => { await sandbox.files.write('taken', 'x'); await sandbox.files.makeDir('taken') },
  'files.rename': () => sandbox.files.rename('gone', 'there'),
  'files.watchDir': () => sandbox.files.watchDir('gone', () => {}),
})

const { git } = sandbox
const NO_REPOSITORY = '/nowhere'

refused('a_repository_that_is_not_there', [SandboxError, InvalidArgumentError], {
  'git.init': () => git.init('/proc/nowhere'),
  'git.remoteAdd': () => git.remoteAdd(NO_REPOSITORY, 'origin', 'https://in.guest/r.git'),
  'git.remoteGet': () => git.remoteGet('/proc/nowhere', ''),
  'git.status': () => git.status(NO_REPOSITORY),
  'git.branches': () => git.branches(NO_REPOSITORY),
  'git.createBranch': () => git.createBranch(NO_REPOSITORY, 'x'),
  'git.checkoutBranch': () => git.checkoutBranch(NO_REPOSITORY, 'x'),
  'git.deleteBranch': () => git.deleteBranch(NO_REPOSITORY, 'x'),
  'git.add': () => git.add(NO_REPOSITORY),
  'git.reset': () => git.reset(NO_REPOSITORY),
  'git.restore': () => git.restore(NO_REPOSITORY, { paths: ['x'] }),
  'git.commit': () => git.commit(NO_REPOSITORY, 'x'),
  'git.setConfig': () => git.setConfig('', 'x'),
  'git.getConfig': () => git.getConfig(''),
  'git.configureUser': () => git.configureUser('', ''),
  'git.dangerouslyAuthenticate': () => git.dangerouslyAuthenticate({ username: '', password: '' }),
})

// ---- a sandbox that is over ----

const over = await Sandbox.create('base', { timeoutMs: 120_000 })
const handle = await over.commands.run('cat', { background: true, stdin: true })
const watch = await over.files.watchDir('/home/user', () => {})
handle.wait().catch(() => {})
await over.kill()
const brief = { requestTimeoutMs: 8000 }

refused('a_sandbox_that_is_over', [SandboxNotFoundError, NotFoundError, TimeoutError, SandboxError], {
  'getInfo': () => over.getInfo(),
  'connect': () => over.connect(),
  'setTimeout': () => over.setTimeout(1000),
  'updateNetwork': () => over.updateNetwork({ allowInternetAccess: false }),
  'pause': () => over.pause(),
  'betaPause': () => over.betaPause(),
  'createSnapshot': () => over.createSnapshot(),
  'fork': () => over.fork(),
  'getMcpToken': () => over.getMcpToken(),
  'commands.run': () => over.commands.run('true', brief),
  'commands.list': () => over.commands.list(brief),
  'commands.kill': () => over.commands.kill(1, brief),
  'commands.connect': () => over.commands.connect(1, brief),
  'commands.sendStdin': () => over.commands.sendStdin(1, 'x', brief),
  'commandHandle.kill': () => handle.kill(),
  'commandHandle.sendStdin': () => handle.sendStdin('x', brief),
  'commandHandle.closeStdin': () => handle.closeStdin(brief),
  'pty.create': () => over.pty.create({ ...terminal, ...brief }),
  'pty.kill': () => over.pty.kill(1, brief),
  'files.read': () => over.files.read('x', brief),
  'files.write': () => over.files.write('x', 'x', brief),
  'files.writeFiles': () => over.files.writeFiles([{ path: 'x', data: 'x' }], brief),
  'files.list': () => over.files.list('/', brief),
  'files.exists': () => over.files.exists('x', brief),
  'files.remove': () => over.files.remove('x', brief),
  'files.makeDir': () => over.files.makeDir('x', brief),
  'files.getInfo': () => over.files.getInfo('x', brief),
  'files.watchDir': () => over.files.watchDir('/', () => {}, brief),
})

promise('a_sandbox_that_is_over_does_not_run_and_cannot_be_ended_again', async () => {
  assert.equal(await over.isRunning(), false)
  assert.equal(await over.kill(), false)
  await watch.stop()
})

promise('calls_of_a_sandbox_with_a_key_that_is_none', async () => {
  await assert.rejects(sandbox.kill(strange), AuthenticationError)
  await assert.rejects(sandbox.getMetrics(strange), AuthenticationError)
  await assert.rejects(sandbox.listSnapshots(strange).nextItems(), AuthenticationError)
  if (E2B) await assert.rejects(new E2B(strange).Sandbox.list().nextItems(), AuthenticationError)
})

await finish(name, () => sandbox.kill())
