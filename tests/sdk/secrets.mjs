// Secrets: made, listed, set again and forgotten through E2B's package, and given to a sandbox by Flotilla's own field of the
// create, which E2B's package does not have.  usage: node secrets.mjs PACKAGE
import assert from 'node:assert/strict'
import { finish, promise } from './lib/tests.mjs'

const name = process.argv[2]
const { Sandbox, Secret, SecretError, SecretNotFoundError, AuthenticationError } = await import(name)
const VALUE = 'a value\nof "two" lines'

promise('a_secret_is_made_set_again_and_forgotten', async () => {
  const made = await Secret.create('OpenAI-Key', VALUE, { metadata: { for: 'tests' } })
  assert.match(made.secretId, /^sec_/)
  assert.deepEqual([made.name, made.version, made.metadata], ['openai-key', 1, { for: 'tests' }])
  assert.ok(Math.abs(made.createdAt - Date.now()) < 60_000)
  assert.deepEqual(made.updatedAt, made.createdAt)
  assert.deepEqual(await Secret.getInfo('openai-key'), made)
  assert.deepEqual(await Secret.getInfo(made.secretId), made)
  const second = await Secret.update('openai-key', 'another')
  assert.deepEqual([second.secretId, second.version, second.metadata], [made.secretId, 2, { for: 'tests' }])
  assert.deepEqual((await Secret.update(made.secretId, 'a third', { metadata: {} })).metadata, {})
  assert.equal(await Secret.exists('openai-key'), true)
  assert.equal(await Secret.destroy('openai-key'), true)
  assert.equal(await Secret.exists(made.secretId), false)
  assert.equal(await Secret.destroy('openai-key'), false)
})

promise('pages_hold_what_they_are_told_to', async () => {
  for (const one of ['c', 'a', 'b']) await Secret.create(one, VALUE)
  const pages = Secret.list({ limit: 2 })
  assert.deepEqual((await pages.nextItems()).map((secret) => secret.name), ['a', 'b'])
  assert.equal(pages.hasNext, true)
  const rest = Secret.list({ limit: 2, nextToken: pages.nextToken })
  const [last] = await rest.nextItems()
  assert.deepEqual([last.name, last.version, last.metadata], ['c', 1, {}])
  assert.equal(rest.hasNext, false)
  assert.ok(!JSON.stringify(await Secret.list().nextItems()).includes('of \\"two\\"'), 'no value is told back')
  for (const one of ['a', 'b', 'c']) await Secret.destroy(one)
})

promise('errors_have_the_packages_classes', async () => {
  await assert.rejects(Secret.getInfo('nothing'), SecretNotFoundError)
  await assert.rejects(Secret.update('nothing', 'x'), SecretNotFoundError)
  await assert.rejects(Secret.create('not possible', 'x'), (error) => error instanceof SecretError && /name: should be of letters/.test(error.message))
  await assert.rejects(Secret.create('empty', ''), SecretError)
  await Secret.create('twice', 'x')
  await assert.rejects(Secret.create('twice', 'y'), (error) => error instanceof SecretError && /already exists/.test(error.message))
  await Secret.destroy('twice')
  await assert.rejects(Secret.list({ apiKey: 'e2b_' + '0'.repeat(40) }).nextItems(), AuthenticationError)
})

promise('a_sandbox_has_a_secret_that_it_is_given_also_when_it_goes_on', async () => {
  await Secret.create('for-sandboxes', VALUE)
  const answer = await fetch(`${process.env.E2B_API_URL}/v2/sandboxes`, {
    method: 'POST', headers: { 'X-API-Key': process.env.E2B_API_KEY, 'Content-Type': 'application/json' },
    body: JSON.stringify({ templateID: 'base', timeout: 120, envVars: { PLAIN: 'yes' }, secretEnvs: { KEY: 'for-sandboxes' } }),
  })
  assert.equal(answer.status, 201)
  const sandbox = await Sandbox.connect((await answer.json()).sandboxID)
  const has = async () => (await sandbox.commands.run('printf "%s|%s" "$PLAIN" "$KEY"')).stdout
  try {
    assert.equal(await has(), `yes|${VALUE}`)
    // What runs has what it was given, whatever becomes of the secret.
    assert.equal(await Secret.destroy('for-sandboxes'), true)
    assert.equal(await sandbox.pause(), true)
    await sandbox.connect()
    assert.equal(await has(), `yes|${VALUE}`)
  } finally {
    await sandbox.kill()
  }
})

await finish(name)
