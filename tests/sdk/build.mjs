// Templates that a tenant builds: from files and commands to sandboxes, and what is told when it fails.
// usage: node build.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { finish, promise } from './lib/tests.mjs'

const name = process.argv[2]
const { Template, Sandbox, BuildError, TemplateError, waitForPort } = await import(name)
const folder = mkdtempSync(path.join(tmpdir(), 'flotilla-build-'))
mkdirSync(path.join(folder, 'site'))
writeFileSync(path.join(folder, 'site', 'index.html'), 'served\n')
writeFileSync(path.join(folder, 'big.bin'), Buffer.alloc(3_000_000, 'x'))
const begin = () => Template({ fileContextPath: folder })
const size = { cpuCount: 1, memoryMB: 512 }
const said = []
const logs = { onBuildLogs: (entry) => said.push(`${entry.level} ${entry.message}`) }
let app
// What is the server's is tried with the newest package; each build takes a boot and a snapshot.
const isNewest = name === 'e2b-new'

promise('a_template_is_built_from_files_and_commands', async () => {
  const template = begin().fromTemplate('base')
    .setEnvs({ GREETING: 'hello' }).copy('site', '/srv/site', { user: 'root', mode: 0o755 }).copy('big.bin', '/srv/big.bin', { user: 'root' })
    .setUser('root').runCmd('echo from the build > /srv/made').setWorkdir('/srv').setUser('user')
    .setStartCmd('python3 -m http.server 8000 --directory /srv/site', waitForPort(8000))
  app = await Template.build(template, 'app', { ...size, ...logs })
  assert.equal(app.name, 'app')
  assert.match(app.buildId, /^[0-9a-f-]{36}$/)
  assert.ok(said.some((line) => /RUN echo from the build/.test(line)), said.join('\n'))
  const sandbox = await Sandbox.create('app', { timeoutMs: 120_000 })
  try {
    assert.equal((await sandbox.commands.run('echo $GREETING; pwd; whoami; cat made; stat -c %s big.bin; curl -s localhost:8000')).stdout,
      'hello\n/srv\nuser\nfrom the build\n3000000\nserved\n')
    const info = await sandbox.getInfo()
    assert.deepEqual([info.name, info.templateId, info.cpuCount, info.memoryMB], ['app', app.templateId, 1, 512])
    assert.equal((await Sandbox.list({ query: { template: 'app' } }).nextItems()).length, 1)
  } catch (error) {
    if (!/template/.test(String(error))) throw error // older packages cannot ask by it
  } finally {
    await sandbox.kill()
  }
})

if (isNewest) promise('what_did_not_change_is_not_built_again', async () => {
  const lines = []
  const template = () => begin().fromTemplate('base').runCmd('date +%N > /tmp/when')
  const stamp = async (build) => {
    const sandbox = await Sandbox.create(build.name, { timeoutMs: 60_000 })
    try {
      return (await sandbox.commands.run('cat /tmp/when')).stdout
    } finally {
      await sandbox.kill()
    }
  }
  const one = await stamp(await Template.build(template(), 'cached', size))
  const two = await stamp(await Template.build(template(), 'cached', { ...size, onBuildLogs: (entry) => lines.push(entry.message) }))
  assert.equal(one, two)
  assert.ok(lines.some((line) => /CACHED/.test(line)), lines.join('\n'))
  assert.notEqual(await stamp(await Template.build(begin().skipCache().fromTemplate('base').runCmd('date +%N > /tmp/when'), 'cached', size)), one)
  assert.notEqual(await stamp(await Template.build(template(), 'cached', { ...size, skipCache: true })), one)
})

if (isNewest) promise('one_template_is_built_upon_another', async () => {
  const upon = await Template.build(begin().fromTemplate('app').runCmd('cat /srv/made > /tmp/seen'), 'upon', size)
  assert.equal(upon.name, 'upon')
  const sandbox = await Sandbox.create('upon', { timeoutMs: 60_000 })
  try {
    assert.equal((await sandbox.commands.run('cat /tmp/seen; echo $GREETING')).stdout, 'from the build\nhello\n')
  } finally {
    await sandbox.kill()
  }
})

promise('an_image_of_a_registry_is_built_upon', async () => {
  const { FLOTILLA_TEST_IMAGE: image, FLOTILLA_TEST_IMAGE_USER: username, FLOTILLA_TEST_IMAGE_PASSWORD: password } = process.env
  const upon = (credentials) => begin().fromImage(image, credentials).runCmd('cat /opt/said > said')
  await Template.build(upon({ username, password }), 'of-image', size)
  const sandbox = await Sandbox.create('of-image', { timeoutMs: 60_000 })
  try {
    assert.equal((await sandbox.commands.run('cat said; echo " $WORD"; id -un; pwd')).stdout, 'of the image of its registry\nuser\n/home/user\n')
    assert.equal(await sandbox.files.exists('/usr/bin/python3'), false, 'nothing of ours is below')
  } finally {
    await sandbox.kill()
  }
  if (!isNewest) return
  await assert.rejects(Template.build(upon({ username, password: 'wrong' }), 'of-image', size), /cannot be fetched/)
  await assert.rejects(Template.build(begin().fromImage(image.replace('team', 'other')).runCmd('true'), 'of-image', size), /may not be fetched/)
  const key = JSON.parse(process.env.FLOTILLA_TEST_ECR)
  await Template.build(begin().fromAWSRegistry(image, key).skipCache().runCmd('cat /opt/said'), 'of-image', size)
  await assert.rejects(Template.build(begin().fromAWSRegistry(image, { ...key, secretAccessKey: 'wrong' }).runCmd('true'), 'of-image', size), /security token .* is invalid/)
})

promise('a_build_may_go_on_by_itself', async () => {
  const lines = []
  const begun = await Template.buildInBackground(begin().fromImage('e2bdev/base').runCmd('true'), { alias: 'behind:v1', ...size,
    tags: ['v2'], minFreeDiskMb: 64, skipCache: true, onBuildLogs: (entry) => lines.push(entry.message) })
  let status, offset = 0
  do {
    await new Promise((next) => setTimeout(next, 200))
    status = await Template.getBuildStatus(begun, { logsOffset: offset })
    offset += status.logEntries.length
  } while (['waiting', 'building'].includes(status.status) || status.logEntries.length)
  assert.equal(status.status, 'ready')
  assert.ok(offset > 0 && lines.length > 0)
  assert.deepEqual([status.buildID, begun.alias], [begun.buildId, 'behind:v1']) // the alias as it was asked for
})

promise('a_name_has_tags', async () => {
  assert.equal(await Template.exists('app'), true)
  assert.equal(await Template.aliasExists('app'), true)
  assert.equal(await Template.exists('never-built'), false)
  assert.deepEqual((await Template.getTags('behind')).map((row) => row.tag), ['v1', 'v2'])
  assert.deepEqual(await Template.assignTags('behind:v1', ['stable', 'default']), { buildId: (await Template.getTags('behind'))[0].buildId, tags: ['stable', 'default'] })
  assert.deepEqual((await Template.getTags('behind')).map((row) => row.tag), ['default', 'stable', 'v1', 'v2'])
  await Template.removeTags('behind', 'stable')
  await Template.removeTags('behind', ['v1', 'v2'])
  assert.deepEqual((await Template.getTags('behind')).map((row) => row.tag), ['default'])
  await Template.assignTags('behind', 'one')
  await assert.rejects(Template.assignTags('behind', ['a:b']), TemplateError)
  await assert.rejects(Template.assignTags('never-built:v1', ['x']), TemplateError)
  await assert.rejects(Template.removeTags('never-built', ['x']), TemplateError)
  const tagged = await Template.build(begin().fromTemplate('base').runCmd('true'),
    { alias: 'behind', ...size, tags: ['t1', 't2'], minFreeDiskMb: 0 })
  assert.deepEqual([...tagged.tags].sort(), ['t1', 't2'])
})

promise('a_step_that_fails_is_told_with_its_reason', async () => {
  await assert.rejects(Template.build(begin().fromTemplate('base').runCmd('true').runCmd('exit 7'), 'broken', size), (error) => {
    assert.ok(error instanceof BuildError, String(error))
    assert.match(error.message, /7/)
    assert.match(error.stack, /^ +at /m)
    return true
  })
  await assert.rejects(Sandbox.create('broken'), /404/)
})

promise('what_cannot_be_built_is_said_before_or_by_name', async () => {
  await assert.rejects(Template.build(begin().fromTemplate('never-built').runCmd('true'), 'bad', size), BuildError)
  await assert.rejects(Template.build(begin().fromImage('registry.test/unknown:1').runCmd('true'), 'bad', size), BuildError)
  await assert.rejects(Template.build(begin().fromTemplate('base'), 'Not/A Name', size), BuildError)
  await assert.rejects(Template.build(begin().fromTemplate('base'), 'bad', { cpuCount: 64, memoryMB: 512 }), /CPU/)
  await assert.rejects(Template.build(begin().fromTemplate('base'), 'bad', { cpuCount: 1, memoryMB: 1 << 20 }), /Memory/)
})

await finish(name, () => rmSync(folder, { recursive: true }))
