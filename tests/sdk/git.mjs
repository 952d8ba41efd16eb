// The package's git module, which is commands in a sandbox: a repository's whole day, with each option of each method.
// usage: node git.mjs PACKAGE   (E2B_*, FLOTILLA_TEST_CA, _CERT, _KEY and _GIT_SERVER in the environment)
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { finish, promise } from './lib/tests.mjs'

const name = process.argv[2]
const { Sandbox, GitAuthError, InvalidArgumentError } = await import(name)
const sandbox = await Sandbox.create('base', { timeoutMs: 300_000 })
const git = sandbox.git
const run = async (command) => (await sandbox.commands.run(command)).stdout.trim()
const options = { envs: { GIT_TERMINAL_PROMPT: '0' }, user: 'user', cwd: '/home/user', timeoutMs: 30_000, requestTimeoutMs: 30_000 }
const home = '/home/user'
const work = `${home}/work`

promise('a_user_is_configured', async () => {
  await git.configureUser('A User', 'a@x.test', { scope: 'global', ...options })
  await git.setConfig('pull.rebase', 'false', { scope: 'global', ...options })
  assert.equal(await git.getConfig('user.email', { scope: 'global', ...options }), 'a@x.test')
  assert.equal(await git.getConfig('no.such', { scope: 'global', ...options }), undefined)
})

promise('a_repository_begins', async () => {
  await git.init(`${home}/far.git`, { bare: true, initialBranch: 'main', ...options })
  await git.init(work, { initialBranch: 'main', ...options })
  await git.remoteAdd(work, 'origin', `${home}/wrong.git`, options)
  await git.remoteAdd(work, 'origin', `${home}/far.git`, { overwrite: true, fetch: true, ...options })
  assert.equal(await git.remoteGet(work, 'origin', options), `${home}/far.git`)
  assert.equal(await git.remoteGet(work, 'nowhere', options), undefined)
})

promise('configuration_has_scopes', async () => {
  await git.configureUser('Another', 'b@x.test', { scope: 'local', path: work, ...options })
  await git.setConfig('core.abbrev', '12', { scope: 'local', path: work, ...options })
  assert.equal(await git.getConfig('core.abbrev', { scope: 'local', path: work, ...options }), '12')
  assert.equal(await run(`git -C ${work} config user.email`), 'b@x.test')
  const system = { scope: 'system', ...options, user: 'root' }
  await git.configureUser('System', 's@x.test', system)
  await git.setConfig('core.pager', 'cat', system)
  assert.equal(await git.getConfig('core.pager', system), 'cat')
})

promise('changes_are_seen_added_and_committed', async () => {
  await run(`cd ${work} && echo 1 > a && echo 2 > b`)
  assert.equal((await git.status(work, options)).fileStatus.length, 2)
  await git.add(work, { files: ['a'], ...options })
  assert.ok((await git.status(work, options)).fileStatus.some((file) => file.name === 'a' && file.staged))
  await git.add(work, { all: true, ...options })
  await git.commit(work, 'first', { authorName: 'Someone', authorEmail: 'c@x.test', ...options })
  await git.commit(work, 'empty', { allowEmpty: true, ...options })
  assert.equal(await run(`git -C ${work} log --reverse --format=%s:%ae`), 'first:c@x.test\nempty:b@x.test')
})

promise('branches_come_and_go', async () => {
  await git.createBranch(work, 'side', options)
  assert.equal((await git.branches(work, options)).currentBranch, 'side')
  await git.commit(work, 'aside', { allowEmpty: true, ...options })
  await git.checkoutBranch(work, 'main', options)
  await git.deleteBranch(work, 'side', { force: true, ...options })
  assert.deepEqual((await git.branches(work, options)).branches, ['main'])
})

promise('what_was_changed_is_taken_back', async () => {
  await run(`cd ${work} && echo changed > a && git add a`)
  await git.restore(work, { paths: ['a'], staged: true, worktree: true, source: 'HEAD', ...options })
  assert.equal(await run(`cat ${work}/a`), '1')
  await run(`cd ${work} && echo changed > a && git add a`)
  await git.reset(work, { paths: ['a'], ...options })
  for (const mode of ['soft', 'mixed', 'merge', 'keep', 'hard']) {
    if (mode === 'merge') await run(`cd ${work} && git checkout -q a`)
    await git.reset(work, { mode, target: 'HEAD', ...options })
  }
  assert.equal((await git.status(work, options)).isClean, true)
})

promise('work_goes_to_another_repository_and_comes_back', async () => {
  await git.push(work, { remote: 'origin', branch: 'main', setUpstream: true, ...options })
  const clone = `${home}/clone`
  await git.clone(`file://${home}/far.git`, { path: clone, branch: 'main', depth: 1, ...options })
  await git.commit(work, 'later', { allowEmpty: true, ...options })
  await git.push(work, options)
  await git.pull(clone, { remote: 'origin', branch: 'main', ...options })
  assert.equal(await run(`git -C ${clone} log -1 --format=%s`), 'later')
})

promise('a_password_is_kept_for_a_host', async () => {
  await git.dangerouslyAuthenticate({ username: 'u', password: 'p', host: 'g.test', protocol: 'https', ...options })
  assert.match(await run('cat ~/.git-credentials'), /^https:\/\/u:p@g\.test$/m)
})

// A server with TLS and a user of its own, inside the sandbox and by the name in its certificate.
const far = 'https://in.guest:8443/r.git', inside = `${home}/served/r.git`, mine = `${home}/mine`
const secured = { ...options, envs: { ...options.envs, GIT_SSL_CAINFO: '/tmp/ca.pem' } }
const who = { username: 'ann', password: 'p@ss:/word' }
const stored = () => run(`git -C ${mine} config remote.origin.url`)

promise('a_password_opens_a_repository_and_is_not_kept', async () => {
  for (const [variable, path] of [['CA', 'ca.pem'], ['CERT', 'cert.pem'], ['KEY', 'key.pem'], ['GIT_SERVER', 'git_server.py']])
    await sandbox.files.write(`/tmp/${path}`, readFileSync(process.env[`FLOTILLA_TEST_${variable}`], 'utf8'))
  await sandbox.commands.run('echo 127.0.0.1 in.guest >>/etc/hosts', { user: 'root' })
  await run(`git clone -q --bare ${work} ${inside} && git -C ${inside} config http.receivepack true`)
  await sandbox.commands.run(`python3 /tmp/git_server.py 8443 ${home}/served /tmp/cert.pem /tmp/key.pem ${who.username}:${who.password}`,
    { background: true, timeoutMs: 0 })
  await run('git config --global --unset credential.helper; rm ~/.git-credentials') // kept by the test before
  await run('for i in $(seq 200); do (: </dev/tcp/127.0.0.1/8443) 2>/dev/null && exit; sleep 0.1; done; exit 1')
  await assert.rejects(git.clone(far, { path: mine, ...secured }), GitAuthError)
  await assert.rejects(git.clone(far, { path: mine, ...secured, ...who, password: 'wrong' }), GitAuthError)
  await assert.rejects(git.clone(far, { path: mine, ...secured, password: who.password }), InvalidArgumentError)
  await git.clone(far, { path: mine, ...secured, ...who })
  assert.equal(await stored(), far)
  assert.equal(await run(`git -C ${mine} log -1 --format=%s`), 'later')
})

promise('a_password_is_kept_only_where_that_is_asked_for', async () => {
  await run(`rm -rf ${mine}`)
  await git.clone(far, { path: mine, ...secured, ...who, dangerouslyStoreCredentials: true })
  assert.equal(decodeURIComponent(await stored()), 'https://ann:p@ss:/word@in.guest:8443/r.git')
  await run(`git -C ${mine} remote set-url origin ${far}`)
})

promise('work_goes_through_a_password_both_ways', async () => {
  await git.commit(mine, 'pushed', { allowEmpty: true, ...options })
  await assert.rejects(git.push(mine, secured), GitAuthError)
  await git.push(mine, { ...secured, ...who })
  assert.equal(await run(`git -C ${inside} log -1 --format=%s main`), 'pushed')
  await run(`git -C ${work} pull -q ${inside} main && git -C ${work} commit -q --allow-empty -m onwards && git -C ${work} push -q ${inside} main`)
  await assert.rejects(git.pull(mine, secured), GitAuthError)
  await git.pull(mine, { ...secured, ...who })
  assert.equal(await run(`git -C ${mine} log -1 --format=%s`), 'onwards')
  assert.equal(await stored(), far)
})

await finish(name, () => sandbox.kill())
