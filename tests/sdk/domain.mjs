// How sandboxes are reached: ports, WebSockets, signed file addresses, traffic tokens.  With E2B_DOMAIN by
// host names and TLS, with E2B_SANDBOX_URL by header fields.
// usage: node domain.mjs PACKAGE   (E2B_*, FLOTILLA_TEST_CERT and _KEY in the environment)
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

const name = process.argv[2]
const { Sandbox } = await import(name)
const domain = process.env.E2B_DOMAIN
const mode = domain ? 'domain' : 'plain'
const server = readFileSync(process.env.FLOTILLA_TEST_SERVER, 'utf8')
const tests = []
const promise = (title, run) => tests.push([title, run])
let sandbox

// Where a port of a sandbox is, and the fields that say so where no host name does.
const reach = (box, port) => domain
  ? { url: `https://${box.getHost(port)}`, headers: {} }
  : { url: process.env.E2B_SANDBOX_URL, headers: { 'e2b-sandbox-id': box.sandboxId, 'e2b-sandbox-port': `${port}` } }

const get = (box, port, path = '/', headers = {}, more = {}) => {
  const to = reach(box, port)
  return fetch(to.url + path, { ...more, headers: { ...to.headers, ...headers } })
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

// A server in the guest, and the first answer of it.
async function serve(box, port, headers, words = '') {
  await box.files.write('server.py', server)
  await box.commands.run(`python3 server.py ${port} ${words}`, { background: true, timeoutMs: 0 })
  for (let tries = 0; ; tries++) {
    const answer = await get(box, port, '/up', headers)
    if (answer.status === 200) return answer.json()
    assert.ok(tries < 200, `port ${port} answers ${answer.status}: ${await answer.text()}`)
    await sleep(100)
  }
}

// Messages are sent in turn; what came back, and the code that it was closed with.
function talk(box, port, messages, headers = {}) {
  const to = reach(box, port)
  const socket = new WebSocket(to.url.replace(/^http/, 'ws') + '/ws', { headers: { ...to.headers, ...headers } })
  const came = []
  return new Promise((done, fail) => {
    socket.onopen = () => socket.send(messages[0])
    socket.onmessage = ({ data }) => {
      came.push(data)
      if (came.length < messages.length) socket.send(messages[came.length])
      else socket.close(4321, 'enough')
    }
    socket.onclose = ({ code, wasClean }) => done({ came, code, wasClean })
    socket.onerror = (event) => fail(event.error ?? new Error('the WebSocket failed'))
  })
}

promise('a_sandbox_is_created_and_serves_a_port', async () => {
  sandbox = await Sandbox.create('base', { timeoutMs: 300_000 })
  assert.equal((await sandbox.commands.run('echo $((6*7))')).stdout, '42\n')
  if (domain) assert.equal(sandbox.getHost(8000), `8000-${sandbox.sandboxId}.${domain}`)
  const seen = await serve(sandbox, 8000)
  if (domain) assert.equal(seen.host, sandbox.getHost(8000))
})

promise('large_bodies_pass_both_ways', async () => {
  const body = new Uint8Array(1_500_000).map((_, at) => (at * 31) & 255)
  const answer = await get(sandbox, 8000, '/', {}, { method: 'POST', body })
  assert.equal(Buffer.compare(Buffer.from(await answer.arrayBuffer()), Buffer.from(body)), 0)
})

promise('a_websocket_passes_both_ways_until_both_ends_close', async () => {
  const messages = ['hello', 'ä'.repeat(200), 'x'.repeat(100_000)]
  const { came, code, wasClean } = await talk(sandbox, 8000, messages)
  assert.deepEqual(came, messages)
  assert.deepEqual([code, wasClean], [4321, true])
})

promise('a_closed_port_and_an_unknown_sandbox_are_told_apart', async () => {
  const closed = await get(sandbox, 8001)
  assert.equal(closed.status, 502)
  assert.deepEqual(await closed.json(), {
    sandboxId: sandbox.sandboxId, message: 'The sandbox is running but port is not open', port: 8001, code: 502 })
  const page = await get(sandbox, 8001, '/', { accept: 'text/html' })
  assert.match(page.headers.get('content-type'), /^text\/html/)
  assert.match(await page.text(), /port is not open/)
  const nobody = { sandboxId: 'i00000000000000000000', getHost: (port) => `${port}-i00000000000000000000.${domain}` }
  const unknown = await get(nobody, 8000)
  assert.equal(unknown.status, 502)
  assert.deepEqual(await unknown.json(), { sandboxId: nobody.sandboxId, message: 'The sandbox was not found', code: 502 })
})

promise('what_is_the_hosts_own_is_not_reached', async () => {
  for (const path of ['/init', '/freeze', '//INIT/'])
    assert.equal((await get(sandbox, 49983, path, {}, { method: 'POST', body: '{}' })).status, 404)
})

promise('signed_addresses_read_and_write_files', async () => {
  const upload = await sandbox.uploadUrl('signed.txt', { user: 'user', useSignatureExpiration: 60 })
  const form = new FormData()
  form.append('file', new Blob(['by address']), 'signed.txt')
  const wrote = await fetch(upload, { method: 'POST', body: form })
  assert.equal(wrote.status, 200, await wrote.text())
  assert.equal(await sandbox.files.read('signed.txt'), 'by address')
  const download = await sandbox.downloadUrl('signed.txt', { user: 'user' })
  const read = await fetch(download)
  assert.deepEqual([read.status, await read.text()], [200, 'by address'])
})

promise('a_signature_is_for_what_it_was_made_for', async () => {
  const download = await sandbox.downloadUrl('signed.txt', { user: 'user' })
  for (const other of [download.replace('signed.txt', 'other.txt'), download.replace('v1_', 'v1_A')]) {
    const refused = await fetch(other)
    assert.deepEqual([refused.status, (await refused.json()).message], [401, 'invalid signature'])
  }
  const old = await sandbox.downloadUrl('signed.txt', { user: 'user', useSignatureExpiration: -10 })
  const refused = await fetch(old)
  assert.deepEqual([refused.status, (await refused.json()).message], [401, 'signature is already expired'])
})

promise('ports_that_are_not_public_want_the_token_and_see_another_host', async () => {
  const guarded = await Sandbox.create('base', { network: { allowPublicTraffic: false, maskRequestHost: 'box-${PORT}.test:${PORT}' } })
  try {
    assert.equal(sandbox.trafficAccessToken ?? undefined, undefined)
    const token = { 'e2b-traffic-access-token': guarded.trafficAccessToken }
    const seen = await serve(guarded, 8000, token)
    assert.equal(seen.host, 'box-8000.test:8000')
    const refused = await get(guarded, 8000)
    assert.equal(refused.status, 403)
    assert.match((await refused.json()).message, /^Sandbox is secured with traffic access token\. Token header .* is missing$/)
    assert.equal((await get(guarded, 8000, '/', { 'e2b-traffic-access-token': 'another' })).status, 403)
    assert.deepEqual((await talk(guarded, 8000, ['in'], token)).came, ['in'])
    await assert.rejects(talk(guarded, 8000, ['in']))
    const again = await Sandbox.connect(guarded.sandboxId)
    assert.equal(again.trafficAccessToken, guarded.trafficAccessToken)
    assert.equal((await again.commands.run('echo in')).stdout, 'in\n')
  } finally {
    await guarded.kill()
  }
})

// Older packages do not know httpsPorts.
if (name !== 'e2b-old') {
  promise('a_port_that_speaks_tls_is_reached', async () => {
    const secure = await Sandbox.create('base', { network: { httpsPorts: [8443] } })
    try {
      await secure.files.write('cert.pem', readFileSync(process.env.FLOTILLA_TEST_CERT, 'utf8'))
      await secure.files.write('key.pem', readFileSync(process.env.FLOTILLA_TEST_KEY, 'utf8'))
      await serve(secure, 8443, {}, 'cert.pem key.pem')
      assert.deepEqual((await talk(secure, 8443, ['sealed', 'y'.repeat(70_000)])).came, ['sealed', 'y'.repeat(70_000)])
    } finally {
      await secure.kill()
    }
  })
}

promise('a_killed_sandbox_is_not_reached', async () => {
  assert.equal(await sandbox.kill(), true)
  assert.equal((await get(sandbox, 8000)).status, 502)
  assert.equal(await sandbox.isRunning(), false)
})

let failed = 0
for (const [title, run] of tests) {
  const began = performance.now()
  try {
    await run()
    console.log(`ok ${name}.${mode}.${title}`)
  } catch (error) {
    failed++
    console.log(error)
    console.log(`not ok ${name}.${mode}.${title}`)
  }
  console.log(`   in ${Math.round(performance.now() - began)} ms`)
}
process.exit(failed ? 1 : 0)
