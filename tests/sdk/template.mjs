// What a template's description comes to, without a server: each step and each of its options is in what would be sent.
// usage: node template.mjs PACKAGE
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { finish, promise } from './lib/tests.mjs'

const name = process.argv[2]
const { Template, ReadyCmd, LogEntry, LogEntryStart, LogEntryEnd, ...sdk } = await import(name)
const folder = mkdtempSync(path.join(tmpdir(), 'flotilla-template-'))
writeFileSync(path.join(folder, 'a.txt'), 'a')
writeFileSync(path.join(folder, 'b.log'), 'b')
const begin = () => Template({ fileContextPath: folder, fileIgnorePatterns: ['*.log'] })
const json = async (template) => JSON.parse(await Template.toJSON(template, false))
// Steps as the words that they consist of.
const steps = async (template) => (await json(template)).steps.map((step) => [step.type, ...step.args].join(' '))

promise('each_beginning_names_its_image', async () => {
  const begins = {
    fromDebianImage: 'debian:', fromUbuntuImage: 'ubuntu:', fromFedoraImage: 'fedora:', fromAlpineImage: 'alpine:',
    fromArchImage: 'archlinux:', fromPythonImage: 'python:', fromNodeImage: 'node:', fromBunImage: 'oven/bun:',
  }
  let tried = 0
  for (const [method, image] of Object.entries(begins)) {
    if (!begin()[method]) continue // not in this version
    tried++
    assert.ok((await json(begin()[method]('1'))).fromImage.startsWith(image), method)
  }
  assert.ok(tried >= 5)
  assert.match((await json(begin().fromBaseImage())).fromImage, /base/)
  assert.equal((await json(begin().fromTemplate('base'))).fromTemplate, 'base')
})

promise('credentials_of_registries_are_sent', async () => {
  const plain = await json(begin().fromImage('r.test/i', { username: 'u', password: 'p' }))
  assert.deepEqual([plain.fromImageRegistry.username, plain.fromImageRegistry.password], ['u', 'p'])
  const aws = await json(begin().fromAWSRegistry('r.test/i', { accessKeyId: 'k', secretAccessKey: 's', region: 'r' }))
  assert.equal(aws.fromImageRegistry.awsRegion, 'r')
  const gcp = await json(begin().fromGCPRegistry('r.test/i', { serviceAccountJSON: { project_id: '1' } }))
  assert.match(JSON.stringify(gcp.fromImageRegistry), /project_id/)
})

promise('a_dockerfile_becomes_steps', async () => {
  const made = begin().fromDockerfile('FROM debian:12\nRUN echo hi\nWORKDIR /srv\nENV A=b\n')
  assert.equal((await json(made)).fromImage, 'debian:12')
  assert.ok((await steps(made)).some((step) => step.includes('echo hi')))
})

promise('files_are_copied_with_their_options', async () => {
  const item = { forceUpload: true, user: 'root', mode: 0o640, resolveSymlinks: true, gzip: false }
  const made = begin().fromTemplate('base').copy('a.txt', '/srv/', item).copyItems([{ src: 'a.txt', dest: '/opt/', ...item }])
  const told = (await json(made)).steps
  assert.deepEqual(told.map((step) => step.args.slice(0, 4)), [['a.txt', '/srv/', 'root', '0640'], ['a.txt', '/opt/', 'root', '0640']])
  assert.ok(told.every((step) => step.forceUpload === true))
  const hashed = JSON.parse(await Template.toJSON(begin().fromTemplate('base').copy('a.txt', '/srv/')))
  assert.match(hashed.steps[0].filesHash, /^[0-9a-f]{64}$/)
})

promise('steps_on_files_become_commands', async () => {
  const all = await steps(begin().fromTemplate('base')
    .remove('/x', { force: true, recursive: true, user: 'root' }).rename('/a', '/b', { force: true, user: 'root' })
    .makeDir('/d', { mode: 0o750, user: 'root' }).makeSymlink('/a', '/l', { force: true, user: 'root' }))
  assert.match(all[0], /rm -r -f \/x root|rm -rf? .*\/x root/)
  assert.match(all[1], /mv \/a \/b -f root/)
  assert.match(all[2], /mkdir .*0750 \/d root/)
  assert.match(all[3], /ln -s -?f? ?.*\/a \/l root/)
})

promise('packages_are_installed_as_asked', async () => {
  const all = await steps(begin().fromTemplate('base').pipInstall(['six'], { g: false }).npmInstall('left', { g: true, dev: true })
    .bunInstall('right', { g: true, dev: true }).aptInstall(['jq'], { noInstallRecommends: true, fixMissing: true }))
  assert.match(all[0], /pip install --user six/)
  assert.match(all[1], /npm install -g .*left/)
  assert.match(all[2], /bun install -g .*right/)
  assert.match(all[3], /apt-get install .*--no-install-recommends .*--fix-missing.*jq/)
})

promise('commands_users_folders_and_environments_are_steps', async () => {
  const made = begin().skipCache().fromTemplate('base').runCmd('one', { user: 'root' }).runCmd(['two', 'three'], { user: 'user' })
    .setWorkdir('/srv').setUser('root').setEnvs({ A: 'b' }).skipCache()
    .gitClone('https://g.test/r.git', '/srv/r', { branch: 'main', depth: 1, user: 'user' })
  const all = await steps(made)
  assert.deepEqual(all.slice(0, 5), ['RUN one root', 'RUN two && three user', 'WORKDIR /srv', 'USER root', 'ENV A b'])
  assert.match(all[5], /git clone .*g\.test.*--branch main.*--depth 1.*\/srv\/r user/)
  assert.equal((await json(made)).steps[5].force, true)
})

promise('a_start_has_a_condition_of_its_own', async () => {
  const ready = { waitForPort: [80], waitForURL: ['http://x.test', 200], waitForProcess: ['p'], waitForFile: ['/f'], waitForTimeout: [2000] }
  for (const [method, args] of Object.entries(ready)) {
    const condition = sdk[method](...args)
    assert.equal((await json(begin().fromTemplate('base').setStartCmd('serve', condition))).readyCmd, condition.getCmd())
  }
  const made = await json(begin().fromTemplate('base').setReadyCmd(new ReadyCmd('true')))
  assert.equal(made.readyCmd, 'true')
})

promise('parts_for_other_templates_are_steps_too', async () => {
  const servers = await steps(begin().fromTemplate('mcp-gateway').addMcpServer(['exa', 'brave']))
  assert.match(servers[0], /mcp-gateway pull exa brave/)
  const built = await steps(begin().fromTemplate('devcontainer').betaDevContainerPrebuild('/w'))
  assert.match(built[0], /devcontainer build .*\/w/)
  const started = await json(begin().fromTemplate('devcontainer').betaSetDevContainerStart('/w'))
  assert.match(started.startCmd, /devcontainer/)
})

promise('a_template_is_told_as_a_dockerfile', () => {
  const text = Template.toDockerfile(new Template().fromImage('debian:12').runCmd('echo hi'))
  assert.match(text, /^FROM debian:12\nRUN echo hi/)
})

promise('a_log_tells_its_lines', () => {
  const lines = []
  const write = process.stdout.write
  process.stdout.write = (text) => lines.push(String(text))
  try {
    const logger = sdk.defaultBuildLogger({ minLevel: 'warn' })
    logger(new LogEntryStart(new Date(), 'begin'))
    logger(new LogEntry(new Date(), 'warn', 'careful'))
    logger(new LogEntry(new Date(), 'debug', 'nothing'))
    logger(new LogEntryEnd(new Date(), 'end'))
    for (const minLevel of ['debug', 'info', 'error']) sdk.defaultBuildLogger({ minLevel })(new LogEntry(new Date(), 'warn', 'other'))
  } finally {
    process.stdout.write = write
  }
  assert.ok(lines.join('\n').includes('careful') && !lines.join('\n').includes('nothing'))
  for (const Kind of [LogEntryStart, LogEntryEnd]) assert.match(new Kind(new Date(0), 'told').toString(), /told/)
  assert.match(new LogEntry(new Date(0), 'info', 'told').toString(), /told/)
})

await finish(name, () => rmSync(folder, { recursive: true }))
