// A gateway for MCP servers, which the package starts in a sandbox of the template mcp-gateway, and its token.
// usage: node mcp.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { finish, promise } from './lib/tests.mjs'

const name = process.argv[2]
const { Sandbox, SandboxError } = await import(name)
const mcp = { duckduckgo: {}, notion: { internalIntegrationToken: "it's \"quoted\" $HOME" } }
let sandbox

// One call of the gateway in the sandbox, as an agent's program makes it.
async function ask(method, params, token) {
  const answer = await fetch(`${process.env.E2B_SANDBOX_URL}/mcp`, {
    method: 'POST', body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}`, 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '50005' },
  })
  return answer.ok ? (await answer.json()).result : answer.status
}

promise('a_gateway_is_started_and_has_the_servers_that_were_asked_for', async () => {
  sandbox = await Sandbox.create({ mcp, timeoutMs: 120_000 })
  const token = await sandbox.getMcpToken()
  assert.match(sandbox.getMcpUrl(), /^https:\/\/50005-.*\/mcp$/)
  assert.equal((await ask('initialize', { protocolVersion: '2025-06-18' }, token)).serverInfo.name, "a test's gateway")
  assert.deepEqual((await ask('tools/list', {}, token)).tools.map((tool) => tool.name), Object.keys(mcp))
  assert.deepEqual(JSON.parse((await ask('tools/call', { name: 'notion' }, token)).content[0].text), mcp.notion)
  assert.equal(await ask('tools/list', {}, 'wrong'), 401)
})

promise('who_connects_later_finds_the_same_token', async () => {
  const again = await Sandbox.connect(sandbox.sandboxId)
  assert.equal(await again.getMcpToken(), await sandbox.getMcpToken())
})

promise('a_gateway_that_does_not_start_takes_its_sandbox_along', async () => {
  const before = (await Sandbox.list().nextItems()).length
  await assert.rejects(Sandbox.create({ mcp: { notion: 'no object' }, timeoutMs: 60_000 }), (error) =>
    error instanceof SandboxError && /Failed to start MCP gateway: mcp-gateway: each server wants an object/.test(error.message))
  assert.equal((await Sandbox.list().nextItems()).length, before)
  await assert.rejects(Sandbox.create('base', { mcp, timeoutMs: 60_000 }), /Failed to start MCP gateway/)
})

await finish(`${name}.mcp`, () => sandbox?.kill())
