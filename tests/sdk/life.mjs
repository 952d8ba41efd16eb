// A sandbox's life as its owner sees it: how it is made, found, asked about, ended, and what errors are told as.
// usage: node life.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { finish, promise } from './lib/tests.mjs'

const name = process.argv[2]
const sdk = await import(name)
const { Sandbox, Secret, AuthenticationError, NotFoundError, SandboxError, TimeoutError } = sdk
const UNKNOWN = 'i00000000000000000000'
const ids = async (options) => (await Sandbox.list(options).nextItems()).map((info) => info.sandboxId)
let first, second

promise('a_sandbox_is_what_its_options_say', async () => {
  const before = Date.now()
  first = await Sandbox.create({ template: 'base', timeoutMs: 120_000, secure: true, metadata: { of: 'life', n: '1' }, envs: { A: 'b c' } })
  const info = await first.getInfo()
  assert.equal(info.sandboxId, first.sandboxId)
  assert.equal(info.name, 'base')
  assert.equal(info.state, 'running')
  assert.deepEqual(info.metadata, { of: 'life', n: '1' })
  assert.ok(info.cpuCount >= 1 && info.memoryMB >= 128)
  assert.ok(Math.abs(info.endAt - info.startedAt - 120_000) < 2000, `${info.startedAt} ${info.endAt}`)
  assert.ok(Math.abs(info.startedAt - before) < 20_000)
  assert.equal((await first.commands.run('printenv A')).stdout, 'b c\n')
})

promise('a_sandbox_says_what_becomes_of_it_at_its_time_limit', async () => {
  second = await Sandbox.create('base', { timeoutMs: 120_000, metadata: { of: 'life', n: '2' }, lifecycle: { onTimeout: 'kill', autoResume: false } })
  assert.deepEqual((await second.getInfo()).lifecycle, { onTimeout: 'kill', autoResume: false })
  const third = await Sandbox.create('base', { timeoutMs: 60_000, lifecycle: { onTimeout: { action: 'kill' } } })
  assert.equal((await third.getInfo()).lifecycle.onTimeout, 'kill')
  await third.kill()
})

promise('a_sandbox_may_pause_at_its_time_limit', async () => {
  for (const onTimeout of ['pause', { action: 'pause', keepMemory: true }]) {
    const one = await Sandbox.create('base', { timeoutMs: 1500, lifecycle: { onTimeout, autoResume: false } })
    try {
      assert.equal((await one.getInfo()).lifecycle.onTimeout, 'pause')
      const end = Date.now() + 20_000
      // It is out of reach some moments before it is saved.
      while ((await one.getInfo()).state !== 'paused' && Date.now() < end) await new Promise((next) => setTimeout(next, 200))
      assert.equal((await one.getInfo()).state, 'paused')
      assert.equal(await one.isRunning(), false)
      await one.connect({ timeoutMs: 60_000, onResume: 'reboot' })
      await Sandbox.connect(one.sandboxId, { timeoutMs: 60_000, onResume: 'reboot' })
    } finally {
      await one.kill()
    }
  }
})

promise('what_a_sandbox_may_reach_is_told_back', async () => {
  const network = { allowOut: ['1.1.1.1'], denyOut: ['0.0.0.0/0'], maskRequestHost: 'x.test:${PORT}', httpsPorts: [8443],
    allowPublicTraffic: true }
  const one = await Sandbox.create('base', { timeoutMs: 60_000, allowInternetAccess: false, network })
  try {
    const told = (await one.getInfo()).network
    const known = ['allowOut', 'denyOut', 'maskRequestHost', ...(name === 'e2b-old' ? [] : ['httpsPorts'])]
    for (const key of known) assert.deepEqual(told[key], network[key], key)
    await Sandbox.updateNetwork(one.sandboxId, { allowOut: ['1.0.0.2'], denyOut: ['0.0.0.0/0'] })
    await one.updateNetwork({ allowOut: ['1.0.0.1'], denyOut: ['0.0.0.0/0'] })
    assert.deepEqual((await one.getInfo()).network.allowOut, ['1.0.0.1'])
  } finally {
    await one.kill()
  }
})

promise('what_is_done_with_its_requests_is_told_back', async () => {
  const asked = { 'API.x.test': [{ transform: ({ iam }) => ({ headers: { Authorization: `Bearer ${iam.tokens.aws}`, 'X-Key': Secret ? '${e2b.secrets.life}' : 'x' } }) }] }
  const kept = { 'api.x.test': [{ transform: { headers: { Authorization: 'Bearer ${e2b.identity.tokens.aws}', 'X-Key': Secret ? '${e2b.secrets.life}' : 'x' } } }] }
  const egressProxy = { address: 'proxy.x.test:1080', username: 'u', password: 'p' }
  if (Secret) await Secret.create('life', 'a value')
  const tokens = { aws: { audience: 'sts.amazonaws.com', tokenType: 'JWT-SVID' } }
  const one = await Sandbox.create('base', { timeoutMs: 60_000, iam: { tokens },
    network: { rules: asked, egressProxy, allowOut: ({ rules }) => [...rules.keys()], denyOut: ({ allTraffic }) => [allTraffic] } })
  try {
    const told = (await one.getInfo()).network
    assert.deepEqual([told.rules, told.egressProxy, told.allowOut], [kept, { address: egressProxy.address, username: 'u' }, ['API.x.test']])
    const rules = new Map([['*.y.test', [{ transform: { headers: { A: 'b' } } }]]])
    for (const update of [(network) => one.updateNetwork(network), (network) => Sandbox.updateNetwork(one.sandboxId, network)]) {
      await update({ rules, egressProxy: { address: '192.0.2.1:1', username: 'v', password: 'w' } })
      const next = (await one.getInfo()).network
      assert.deepEqual(next, { ...next, rules: Object.fromEntries(rules), egressProxy: { address: '192.0.2.1:1', username: 'v' } })
      assert.equal(next.allowOut, undefined)
      await update({})
      assert.equal((await one.getInfo()).network?.rules, undefined)
    }
  } finally {
    await one.kill()
    if (Secret) await Secret.destroy('life')
  }
})

promise('what_cannot_be_done_with_requests_is_refused', async () => {
  const headers = (value) => ({ 'x.test': [{ transform: { headers: value } }] })
  for (const [network, word] of [
    [{ rules: { '*': [] } }, 'invalid domain'], [{ rules: headers({ Connection: 'x' }) }, 'cannot be set'], [{ rules: headers({ A: 'a\nb' }) }, 'line breaks'],
    [{ rules: headers({ A: '${e2b.secrets.nothing}' }) }, 'there is no secret nothing'], [{ egressProxy: { address: 'x.test' } }, 'HOST:PORT'],
    [{ egressProxy: { address: 'x.test:1', password: 'p' } }, 'username'],
  ]) {
    await assert.rejects(Sandbox.create('base', { network }), (error) => String(error).includes(word), word)
    await assert.rejects(first.updateNetwork(network), (error) => String(error).includes(word), word)
  }
  await assert.rejects(Sandbox.create('base', { iam: { tokens: { a: { audience: 'x', tokenType: 'JWT' } } } }), (error) => String(error).includes('JWT-SVID'))
})

promise('a_sandbox_ends_at_its_time_limit', async () => {
  const short = await Sandbox.create('base', { timeoutMs: 2000 })
  const end = Date.now() + 20_000
  while (await short.isRunning() && Date.now() < end) await new Promise((next) => setTimeout(next, 200))
  assert.equal(await short.isRunning(), false)
  await assert.rejects(short.getInfo(), NotFoundError)
})

promise('a_list_is_filtered_ordered_and_comes_in_pages', async () => {
  const mine = { metadata: { of: 'life' } }
  const [a, b] = [first.sandboxId, second.sandboxId]
  assert.deepEqual(await ids({ query: mine, order: 'asc' }), [a, b])
  assert.deepEqual(await ids({ query: mine, order: 'desc' }), [b, a])
  assert.deepEqual(await ids({ query: { ...mine, state: ['running'], template: 'base' } }), [b, a])
  assert.deepEqual(await ids({ query: { ...mine, state: ['paused'] } }), [])
  const since = (await second.getInfo()).startedAt
  assert.deepEqual(await ids({ query: { ...mine, startedAfter: since } }), [b])
  const pages = Sandbox.list({ query: mine, limit: 1 })
  assert.equal((await pages.nextItems())[0].sandboxId, b)
  assert.equal(pages.hasNext, true)
  assert.deepEqual(await ids({ query: mine, limit: 1, nextToken: pages.nextToken }), [a])
  assert.equal((await pages.nextItems())[0].sandboxId, a)
})

promise('the_same_is_asked_by_id', async () => {
  const info = await Sandbox.getInfo(first.sandboxId)
  assert.equal(info.sandboxId, first.sandboxId)
  assert.equal((await Sandbox.getFullInfo(first.sandboxId)).state, 'running')
  await Sandbox.setTimeout(first.sandboxId, 30_000)
  assert.ok((await first.getInfo()).endAt < info.endAt, 'a time limit may also be shortened')
  await first.connect({ timeoutMs: 200_000 })
  assert.ok((await first.getInfo()).endAt > info.endAt, 'connecting extends it')
  assert.equal(await Sandbox.kill(second.sandboxId), true)
  assert.equal(await second.isRunning(), false)
})

promise('addresses_name_the_sandbox_and_the_file', async () => {
  assert.match(first.getHost(8000), new RegExp(`^8000-${first.sandboxId}\\.`))
  const down = new URL(await first.downloadUrl('a b', { user: 'root', useSignatureExpiration: 60 }))
  assert.equal(down.searchParams.get('path'), 'a b')
  assert.equal(down.searchParams.get('username'), 'root')
  assert.match(down.searchParams.get('signature'), /^v1_/)
  assert.ok(Number(down.searchParams.get('signature_expiration')) > Date.now() / 1000)
  const up = new URL(await first.uploadUrl('c', { user: 'user', useSignatureExpiration: 60 }))
  assert.notEqual(up.searchParams.get('signature'), down.searchParams.get('signature'))
  assert.match(first.getMcpUrl(), /^https:\/\/50005-.*\/mcp$/)
})

promise('what_is_signed_is_what_the_package_signs', async () => {
  const known = await sdk.getSignature({ path: 'hello.txt', operation: 'read', user: 'user', envdAccessToken: '0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0' })
  assert.equal(known.signature, 'v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E')
  const lasting = await sdk.getSignature({ path: 'x', operation: 'write', user: 'root', expirationInSeconds: 5, envdAccessToken: 'a' })
  assert.ok(lasting.expiration >= Date.now() / 1000)
})

promise('secrets_have_placeholders', () => {
  assert.match(Secret.fill('name'), /name/)
  const token = { audience: 'a.test', tokenType: 'JWT-SVID' }
  assert.deepEqual(Secret.iamToken(token), token)
})

promise('a_wrong_key_is_an_authentication_error', async () => {
  const wrong = { apiKey: 'e2b_' + '0'.repeat(40) }
  await assert.rejects(Sandbox.create('base', wrong), AuthenticationError)
  await assert.rejects(Sandbox.list(wrong).nextItems(), AuthenticationError)
  await assert.rejects(Sandbox.kill(first.sandboxId, wrong), AuthenticationError)
})

promise('what_is_not_there_is_a_not_found_error', async () => {
  for (const run of [Sandbox.connect, Sandbox.getInfo]) await assert.rejects(run.call(Sandbox, UNKNOWN), NotFoundError)
  await assert.rejects(Sandbox.setTimeout(UNKNOWN, 1000), NotFoundError)
  await assert.rejects(Sandbox.create('no-such-template'), SandboxError)
  await assert.rejects(first.files.read('/no/such/file'), NotFoundError)
})

promise('too_long_a_time_limit_is_refused_in_words', async () => {
  await assert.rejects(Sandbox.create('base', { timeoutMs: 1000 * 3600 * 24 * 365 }), (error) => {
    assert.ok(error instanceof SandboxError)
    assert.match(error.message, /400/)
    return true
  })
})

promise('a_request_past_its_time_limit_and_one_that_is_called_off_end', async () => {
  await assert.rejects(first.commands.run('sleep 20', { requestTimeoutMs: 20_000, timeoutMs: 500 }), TimeoutError)
  const controller = new AbortController()
  const running = Sandbox.getInfo(first.sandboxId, { signal: controller.signal })
  controller.abort()
  await assert.rejects(running)
  await assert.rejects(first.commands.run('true', { signal: AbortSignal.abort() }))
  assert.equal(await first.isRunning(), true)
})

promise('debug_mode_asks_no_server', async () => {
  const debug = { debug: true, apiUrl: 'http://127.0.0.1:9', apiKey: 'e2b_0' }
  const pretended = await Sandbox.create('base', debug)
  assert.equal(pretended.sandboxId, 'debug_sandbox_id')
  assert.equal(pretended.getHost(3000), 'localhost:3000')
  assert.equal(await pretended.kill(), true)
})

await finish(name, () => Sandbox.kill(first.sandboxId))
