// A program's files, through E2B's published package and nothing else.
// usage: node files.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'

const name = process.argv[2]
const { Sandbox, AuthenticationError, FileNotFoundError, FileType, FilesystemEventType, InvalidArgumentError, NotEnoughSpaceError,
  NotFoundError, SandboxError, TimeoutError } = await import(name)
const tests = []
const promise = (title, run) => tests.push([title, run])
const bytes = (n) => new Uint8Array(n).map((_, at) => (at * 31) & 255)
const same = (a, b) => assert.equal(Buffer.compare(Buffer.from(a), Buffer.from(b)), 0)
let sandbox, files
// What is the guest's alone and takes long is tried with the newest package.
const isNewest = name === 'e2b-new'

const shell = async (command, options) => (await sandbox.commands.run(command, options)).stdout

// Until it holds: events come when they come.
const until = async (what, holds) => {
  const ends = performance.now() + 20_000
  while (!holds()) {
    assert.ok(performance.now() < ends, `waited in vain for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

promise('a_sandbox_has_its_users_home', async () => {
  sandbox = await Sandbox.create('base', { timeoutMs: 300_000 })
  files = sandbox.files
  assert.ok((await files.list('/home/user')).length >= 0)
})

promise('what_is_written_is_read_in_every_format', async () => {
  const data = bytes(200_003)
  const kinds = { string: 'grüße\n', buffer: data.buffer, blob: new Blob([data]), empty: '' }
  for (const [kind, content] of Object.entries(kinds)) {
    const expected = Buffer.from(await new Blob([content]).arrayBuffer())
    for (const options of [{}, { useOctetStream: true }, { gzip: true }]) {
      const path = `formats/${kind}-${Object.keys(options)[0] ?? 'form'}`
      const info = await files.write(path, content, options)
      assert.deepEqual([info.name, info.path, info.type], [path.split('/')[1], `/home/user/${path}`, FileType.FILE])
      assert.equal(await files.read(path), expected.toString())
      same(await files.read(path, { format: 'bytes' }), expected)
      same(await (await files.read(path, { format: 'blob' })).arrayBuffer(), expected)
      const pieces = []
      for await (const piece of await files.read(path, { format: 'stream', gzip: true })) pieces.push(piece)
      same(Buffer.concat(pieces), expected)
      assert.equal((await files.getInfo(path)).size, expected.length)
    }
  }
})

promise('streams_are_written_as_they_come', async () => {
  const piece = bytes(64 * 1024)
  const stream = () => {
    let left = 80
    return new ReadableStream({ pull: (out) => { left-- ? out.enqueue(piece) : out.close() } })
  }
  for (const options of [undefined, { gzip: true }, { useOctetStream: false }]) {
    await files.write('stream', stream(), options)
    same(await files.read('stream', { format: 'bytes' }), Buffer.concat(Array(80).fill(piece)))
  }
})

promise('many_files_are_written_at_once', async () => {
  const many = Array.from({ length: 40 }, (_, at) => ({ path: `many/${at % 4}/ü ${at}`, data: `file ${at}` }))
  const infos = await files.writeFiles(many)
  assert.deepEqual(infos.map((info) => info.path), many.map((file) => `/home/user/${file.path}`))
  assert.equal((await files.write(many, { useOctetStream: true })).length, 40)
  assert.equal(await files.read('many/3/ü 7'), 'file 7')
  assert.deepEqual(await files.writeFiles([]), [])
  await assert.rejects(files.write([{ path: 'twice', data: '1' }, { path: 'twice', data: '2' }]), InvalidArgumentError)
})

promise('metadata_is_kept_told_and_replaced', async () => {
  for (const options of [{}, { useOctetStream: true }]) {
    const info = await files.write('meta', 'x', { ...options, metadata: { Author: 'me', two: 'b c' } })
    assert.deepEqual(info.metadata, { author: 'me', two: 'b c' })
    assert.deepEqual((await files.getInfo('meta')).metadata, { author: 'me', two: 'b c' })
    const listed = (await files.list('/home/user')).find((entry) => entry.name === 'meta')
    assert.deepEqual(listed.metadata, { author: 'me', two: 'b c' })
    assert.deepEqual((await files.rename('meta', 'moved')).metadata, { author: 'me', two: 'b c' })
    assert.deepEqual((await files.write('moved', 'y', { ...options, metadata: { three: '3' } })).metadata, { three: '3' })
    assert.equal((await files.write('moved', 'z', options)).metadata, undefined)
    assert.equal((await files.getInfo('moved')).metadata, undefined)
  }
  await assert.rejects(files.write('meta', 'x', { metadata: { k: 'v'.repeat(5000) } }), InvalidArgumentError)
  await assert.rejects(files.write('meta', 'x', { metadata: { 'ü': 'v' } }), InvalidArgumentError)
  for (const path of ['/tmp/meta', '/root/meta', '/meta'])
    assert.deepEqual((await files.write(path, 'x', { user: 'root', metadata: { a: 'b' } })).metadata, { a: 'b' }, path)
})

promise('folders_are_listed_to_a_depth_and_in_order', async () => {
  for (const path of ['tree/b/x/y', 'tree/a', 'tree/B']) assert.equal(await files.makeDir(path), true)
  await files.write('tree/b/x/z', '')
  await sandbox.commands.run('cd tree && ln -s b/x link && ln -s nowhere dangling && ln -s loop loop')
  const paths = async (depth) => (await files.list('tree', { depth })).map((entry) => entry.path.slice('/home/user/tree/'.length))
  assert.deepEqual(await paths(undefined), ['B', 'a', 'b', 'link'])
  assert.deepEqual(await paths(9), ['B', 'a', 'b', 'b/x', 'b/x/y', 'b/x/z', 'link'])
  const link = await files.getInfo('tree/link')
  assert.deepEqual([link.type, link.symlinkTarget, link.permissions], [FileType.DIR, '/home/user/tree/b/x', 'Lrwxrwxrwx'])
  assert.deepEqual((await files.list('tree/link')).map((entry) => entry.path), ['/home/user/tree/link/y', '/home/user/tree/link/z'])
  await assert.rejects(files.list('tree/b/x/z'), InvalidArgumentError)
  await assert.rejects(files.list('tree/gone'), FileNotFoundError)
  await assert.rejects(files.list('tree/loop'), SandboxError)
  await assert.rejects(files.list('tree', { depth: 0 }), InvalidArgumentError)
})

promise('an_entry_tells_what_the_system_tells', async () => {
  await files.write('info', '12345')
  const info = await files.getInfo('info')
  assert.deepEqual([info.name, info.path, info.type, info.size, info.mode, info.permissions, info.owner, info.group, info.symlinkTarget],
    ['info', '/home/user/info', FileType.FILE, 5, 0o644, '-rw-r--r--', 'user', 'user', undefined])
  assert.ok(Math.abs(info.modifiedTime.getTime() - Date.now()) < 60_000)
  await sandbox.commands.run('chmod 4751 info && mkdir sticky && chmod 1777 sticky')
  assert.deepEqual([(await files.getInfo('info')).permissions, (await files.getInfo('info')).mode], ['urwxr-x--x', 0o751])
  assert.equal((await files.getInfo('sticky')).permissions, 'dtrwxrwxrwx')
  await assert.rejects(files.getInfo('gone'), FileNotFoundError)
})

promise('files_are_moved_and_removed', async () => {
  await files.write('m/a', 'A')
  assert.equal((await files.rename('m/a', 'm/new/b')).path, '/home/user/m/new/b')
  assert.deepEqual([await files.exists('m/a'), await files.exists('m/new/b')], [false, true])
  await assert.rejects(files.rename('m/a', 'm/c'), FileNotFoundError)
  assert.equal(await files.makeDir('m/new'), false)
  await assert.rejects(files.makeDir('m/new/b'), InvalidArgumentError)
  assert.equal((await files.rename('/usr/share/doc', '/srv/doc')).type, FileType.DIR) // one of the template's
  assert.ok((await files.list('/srv/doc')).length > 5)
  await files.remove('m')
  await files.remove('m')
  assert.equal(await files.exists('m'), false)
  await assert.rejects(files.read('m/a'), FileNotFoundError)
  await assert.rejects(files.read('m/a'), NotFoundError)
  await assert.rejects(files.read('/home/user'), InvalidArgumentError)
  await assert.rejects(files.write('/home/user', 'x'), InvalidArgumentError)
})

promise('users_and_paths_are_as_asked', async () => {
  assert.equal((await files.write('~/tilde', 'x')).path, '/home/user/tilde')
  assert.equal((await files.write('rel', 'x', { user: 'root' })).path, '/root/rel')
  assert.equal((await files.getInfo('/root/rel')).owner, 'root')
  assert.equal((await files.getInfo('rel', { user: 'root' })).path, '/root/rel')
  assert.equal((await files.write('/srv/deep/f', 'x')).path, '/srv/deep/f')
  assert.equal(await shell('stat -c %U:%a /srv/deep /srv/deep/f'), 'user:755\nuser:644\n')
  await files.write('/root/rel', 'y')
  assert.equal((await files.getInfo('/root/rel')).owner, 'user')
  await assert.rejects(files.write('x', 'x', { user: 'nobody-there' }), AuthenticationError)
  await assert.rejects(files.read('info', { user: 'nobody-there' }), AuthenticationError)
  await assert.rejects(files.list('/', { user: 'nobody-there' }), AuthenticationError)
  await assert.rejects(files.read('~root/x'), InvalidArgumentError)
  assert.match(await files.read('/proc/meminfo'), /MemTotal/)
})

promise('changes_in_a_folder_are_watched', async () => {
  const events = []
  let exits = 0
  await files.makeDir('watched/sub')
  const handle = await files.watchDir('watched', (event) => { events.push(event) }, { onExit: () => { exits++ }, includeEntry: true })
  const seen = (type, path) => events.find((event) => event.type === type && event.name === path)
  await files.write('watched/f', 'x')
  await until('a write', () => seen(FilesystemEventType.CREATE, 'f') && seen(FilesystemEventType.WRITE, 'f'))
  assert.equal(seen(FilesystemEventType.WRITE, 'f').entry?.path, '/home/user/watched/f')
  await sandbox.commands.run('chmod 600 watched/f; mv watched/f watched/g; touch watched/sub/unseen; rm watched/g')
  await until('a removal', () => seen(FilesystemEventType.REMOVE, 'g'))
  assert.ok(seen(FilesystemEventType.CHMOD, 'f') && seen(FilesystemEventType.RENAME, 'f') && seen(FilesystemEventType.CREATE, 'g'))
  assert.equal(seen(FilesystemEventType.REMOVE, 'g').entry, undefined)
  assert.ok(!events.some((event) => event.name.includes('unseen')))
  await handle.stop()
  await until('the end', () => exits === 1)
  const n = events.length
  await files.write('watched/late', 'x')
  assert.equal(events.length, n)
})

promise('new_folders_are_watched_too', async () => {
  const events = []
  await files.makeDir('deep')
  const handle = await files.watchDir('deep', (event) => { events.push(`${event.type} ${event.name}`) }, { recursive: true, timeoutMs: 0, allowNetworkMounts: true })
  await files.write('deep/one/two/f', 'x')
  await until('what was there first', () => events.includes(`${FilesystemEventType.CREATE} one/two/f`))
  await files.write('deep/one/two/g', 'x')
  await until('a new file', () => events.includes(`${FilesystemEventType.WRITE} one/two/g`))
  await files.rename('deep/one', 'deep/1')
  await files.write('deep/1/two/h', 'x')
  await until('a file in a renamed folder', () => events.includes(`${FilesystemEventType.WRITE} 1/two/h`))
  await handle.stop()
})

promise('watching_ends_in_time_and_is_refused_in_words', async () => {
  let error
  await files.watchDir('deep', () => {}, { timeoutMs: 1000, onExit: (given) => { error = given ?? 'none' } })
  await until('the time limit', () => error)
  assert.ok(error instanceof TimeoutError, error)
  await assert.rejects(files.watchDir('gone', () => {}), FileNotFoundError)
  await assert.rejects(files.watchDir('info', () => {}), InvalidArgumentError)
})

promise('signed_addresses_open_one_file_for_a_while', async () => {
  const ask = (url, options = {}) => fetch(url, { ...options, headers: { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '49983', ...options.headers } })
  const refused = async (response, text) => {
    assert.equal(response.status, 401)
    assert.deepEqual(await response.json(), { code: 401, message: text })
  }
  await files.write('signed file', 'content')
  const url = await sandbox.downloadUrl('signed file')
  assert.equal(await (await ask(url)).text(), 'content')
  assert.equal((await ask(url, { headers: { Range: 'bytes=1-3' } })).status, 206)
  assert.equal((await ask(await sandbox.downloadUrl('signed file', { useSignatureExpiration: 60, user: 'user' }))).status, 200)
  await refused(await ask(await sandbox.downloadUrl('signed file', { useSignatureExpiration: -60 })), 'signature is already expired')
  await refused(await ask(url.replace('signed', 'other')), 'invalid signature')
  await refused(await ask(url.replace(/signature=[^&]*/, '')), 'missing signature query parameter')
  await refused(await ask(url, { headers: { 'X-Access-Token': 'wrong' } }), 'access token present in header but does not match')
  const form = (path) => { const data = new FormData(); data.append('file', new Blob(['uploaded']), path); return data }
  assert.equal((await ask(await sandbox.uploadUrl('up/loaded'), { method: 'POST', body: form('x') })).status, 200)
  assert.equal(await files.read('up/loaded'), 'uploaded')
  assert.equal((await ask(await sandbox.uploadUrl(), { method: 'POST', body: form('/home/user/any/where') })).status, 200)
  assert.equal(await files.read('any/where'), 'uploaded')
  await refused(await ask(url, { method: 'POST', body: form('x') }), 'invalid signature')
})

if (isNewest) promise('others_are_answered_while_a_huge_tree_is_removed', async () => {
  await sandbox.commands.run('mkdir huge && cd huge && for i in $(seq 20); do mkdir $i; (cd $i && seq 1000 | xargs touch); done', { timeoutMs: 120_000 })
  assert.equal((await files.list('huge', { depth: 2 })).length, 20020)
  let done = false
  const removal = files.remove('huge').then(() => { done = true })
  let answered = 0
  while (!done) {
    assert.equal(await files.exists('info'), true)
    answered += !done
  }
  await removal
  assert.ok(answered > 3, `only ${answered} answers meanwhile`)
  assert.equal(await files.exists('huge'), false)
})

if (isNewest) promise('a_disk_is_larger_than_memory', async () => {
  const memory = Number(await shell("awk '/MemTotal/ { print $2 * 1024 }' /proc/meminfo"))
  const big = memory + 64 * 1024 * 1024
  await sandbox.commands.run(`head -c ${big} /dev/zero > big`, { timeoutMs: 120_000 })
  assert.equal((await files.getInfo('big')).size, big)
  await files.remove('big')
})

promise('a_full_disk_is_told', async () => {
  await sandbox.commands.run('df --output=avail -B1 / | tail -1 | xargs -I{} fallocate -l {} fill; true; dd if=/dev/zero of=fill2 bs=1M; true', { user: 'root', timeoutMs: 120_000 })
  for (const options of [{}, { useOctetStream: true }, { gzip: true }])
    await assert.rejects(files.write('more', bytes(4 * 1024 * 1024).buffer, options), NotEnoughSpaceError)
  await sandbox.commands.run('rm -f /root/fill* ~/fill* more', { user: 'root' })
  await files.write('more', 'there is room again')
  assert.equal(await files.read('more'), 'there is room again')
})

promise('the_sandbox_is_killed', async () => {
  assert.equal(await sandbox.kill(), true)
  await assert.rejects(files.read('info'), SandboxError)
})

let failed = 0
for (const [title, run] of tests) {
  const began = performance.now()
  try {
    await run()
    console.log(`ok ${name}.files.${title}`)
  } catch (error) {
    failed++
    console.log(error)
    console.log(`not ok ${name}.files.${title}`)
  }
  console.log(`   in ${Math.round(performance.now() - began)} ms`)
}
process.exit(failed ? 1 : 0)
