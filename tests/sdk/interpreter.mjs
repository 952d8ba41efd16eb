// Drives E2B's @e2b/code-interpreter, unmodified: code in, results out.
// usage: node interpreter.mjs PACKAGE   (E2B_* in the environment)
import assert from 'node:assert/strict'
import { finish, promise } from './lib/tests.mjs'
// By its name and not by the argument: what is recorded is what a program imports so.
import { E2B, InvalidArgumentError, Sandbox } from '@e2b/code-interpreter'

let sandbox

promise('the_first_execution_finds_a_warm_kernel', async () => {
  sandbox = await Sandbox.create({ timeoutMs: 600_000, envs: { COLOUR: 'blue' } })
  const began = Date.now()
  const execution = await sandbox.runCode('x = 1; x += 1; x')
  console.log(`   first execution: ${Date.now() - began} ms`)
  assert.equal(execution.text, '2')
  assert.equal(execution.results[0].isMainResult, true)
  assert.equal(execution.error, undefined)
})

promise('names_stay_and_executions_are_counted', async () => {
  const first = await sandbox.runCode('x + 1')
  const second = await sandbox.runCode('x + 2')
  assert.equal(first.text, '3')
  assert.equal(second.executionCount, first.executionCount + 1)
})

promise('results_and_errors_are_told_as_they_come_and_written_as_json', async () => {
  const results = [], errors = []
  const execution = await sandbox.runCode('from IPython.display import display, Markdown\ndisplay(Markdown("a"))\n1 / 0', {
    language: 'python', requestTimeoutMs: 30_000, timeoutMs: 60_000,
    onResult: (result) => results.push(result), onError: (error) => errors.push(error) })
  assert.deepEqual(results.map((result) => [result.markdown, result.isMainResult]), [['a', false]])
  assert.deepEqual(errors.map((error) => error.name), ['ZeroDivisionError'])
  assert.ok(results[0].formats().includes('markdown'))
  assert.equal(results[0].toJSON().markdown, 'a')
  const told = execution.toJSON()
  assert.deepEqual([told.results.length, told.logs, told.error.value], [1, { stdout: [], stderr: [] }, 'division by zero'])
})

promise('a_client_has_the_interpreters_sandboxes', async () => {
  const client = new E2B({ apiKey: process.env.E2B_API_KEY, apiUrl: process.env.E2B_API_URL, sandboxUrl: process.env.E2B_SANDBOX_URL })
  const other = await client.Sandbox.connect(sandbox.sandboxId)
  assert.equal((await other.runCode('x')).text, '2')
})

promise('output_is_streamed_while_the_code_runs', async () => {
  const at = [], errors = []
  const execution = await sandbox.runCode(
    'import sys, time\nprint("one", flush=True)\ntime.sleep(2)\nprint("two")\nprint("bad", file=sys.stderr)',
    { onStdout: line => at.push([line.line, Date.now()]), onStderr: line => errors.push(line.line) })
  assert.equal(execution.logs.stdout.join(''), 'one\ntwo\n')
  assert.equal(execution.logs.stderr.join(''), 'bad\n')
  assert.equal(errors.join(''), 'bad\n')
  assert.ok(at.at(-1)[1] - at[0][1] > 1000, `streamed: ${JSON.stringify(at)}`)
})

promise('an_exception_is_an_error_with_its_traceback', async () => {
  const { error } = await sandbox.runCode('1 / 0')
  assert.equal(error.name, 'ZeroDivisionError')
  assert.equal(error.value, 'division by zero')
  assert.match(error.traceback, /1 \/ 0|ZeroDivisionError/)
})

promise('a_plot_is_a_png_and_a_frame_is_html', async () => {
  const plot = await sandbox.runCode('import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()')
  const png = Buffer.from(plot.results.find(result => result.png).png, 'base64')
  assert.equal(png.subarray(1, 4).toString(), 'PNG')
  const frame = await sandbox.runCode('import pandas as pd\npd.DataFrame({"a": [1, 2]})')
  assert.match(frame.results[0].html, /<table/)
  assert.ok(frame.results[0].formats().includes('html'))
})

promise('a_plot_is_told_as_data_too', async () => {
  const chart = async (code) => (await sandbox.runCode(`import matplotlib.pyplot as plt\n${code}\nplt.show()`)).results[0].chart
  const line = await chart('plt.plot([1, 2], [3, 4.5], label="a"); plt.title("T"); plt.xlabel("Time (s)"); plt.yscale("log")')
  assert.deepEqual([line.type, line.title, line.elements], ['line', 'T', [{ label: 'a', points: [[1, 3], [2, 4.5]] }]])
  assert.deepEqual([line.x_label, line.x_unit, line.x_scale, line.y_scale, line.y_label], ['Time (s)', 's', 'linear', 'log', null])
  assert.equal(line.x_ticks.length, line.x_tick_labels.length)
  const dates = await chart('import datetime\nplt.scatter([datetime.date(2024, 1, 1)], [1])')
  assert.deepEqual([dates.type, dates.x_scale, dates.elements[0].points], ['scatter', 'datetime', [['2024-01-01T00:00:00', 1]]])
  const bars = await chart('plt.barh(["u", "v"], [1, 2], label="g")')
  assert.deepEqual([bars.type, bars.elements], ['bar', [{ label: 'u', group: 'g', value: 1 }, { label: 'v', group: 'g', value: 2 }]])
  assert.deepEqual((await chart('plt.pie([1, 3], labels=["p", "q"])')).elements, [{ label: 'p', angle: 90, radius: 1 }, { label: 'q', angle: 270, radius: 1 }])
  const boxes = await chart('plt.boxplot([[1, 2, 3, 4, 50]], labels=["b"])')
  assert.deepEqual([boxes.type, boxes.elements], ['box_and_whisker', [{ label: 'b', min: 1, first_quartile: 2, median: 3, third_quartile: 4, max: 4, outliers: [50] }]])
  const two = await chart('f, (a, b) = plt.subplots(1, 2); a.plot([1]); b.imshow([[1]]); f.suptitle("S")')
  assert.deepEqual([two.type, two.title, two.elements.map(one => one.type)], ['superchart', 'S', ['line', 'unknown']])
  const { results } = await sandbox.runCode('import pandas as pd\npd.DataFrame({"a": [1, None], "b": pd.to_datetime(["2024-01-01", None])})')
  assert.deepEqual(results[0].data, { a: [1, null], b: ['2024-01-01T00:00:00', null] })
  assert.deepEqual(['data', 'html'].filter(format => !results[0].formats().includes(format)), [])
})

promise('rich_data_keeps_its_kind', async () => {
  const { results } = await sandbox.runCode(
    'from IPython.display import display, JSON, Markdown, Latex, SVG\n' +
    'display(JSON({"a": 1}))\ndisplay(Markdown("**x**"))\ndisplay(Latex("$x$"))\n"text"')
  assert.deepEqual(results[0].json, { a: 1 })
  assert.equal(results[1].markdown, '**x**')
  assert.equal(results[2].latex, '$x$')
  assert.equal(results[3].text, 'text')
  assert.deepEqual(results.map(result => result.isMainResult), [false, false, false, true])
})

promise('variables_of_the_sandbox_and_of_one_execution', async () => {
  const code = 'import os; (os.environ.get("COLOUR"), os.environ.get("ONCE"))'
  assert.equal((await sandbox.runCode(code, { envs: { ONCE: "it's" } })).text, '(\'blue\', "it\'s")')
  assert.equal((await sandbox.runCode(code)).text, "('blue', None)")
})

promise('contexts_are_apart_and_can_be_restarted_and_removed', async () => {
  const context = await sandbox.createCodeContext({ cwd: '/tmp', language: 'python', requestTimeoutMs: 120_000 })
  assert.equal(context.language, 'python')
  assert.equal(context.cwd, '/tmp')
  assert.equal((await sandbox.runCode('import os; y = 5; os.getcwd()', { context })).text, '/tmp')
  assert.equal((await sandbox.runCode('y')).error.name, 'NameError')
  assert.ok((await sandbox.listCodeContexts()).some(other => other.id === context.id))
  await sandbox.restartCodeContext(context)
  assert.equal((await sandbox.runCode('y', { context })).error.name, 'NameError')
  await assert.rejects(sandbox.runCode('1', { context, language: 'python' }), InvalidArgumentError)
  await sandbox.restartCodeContext(context.id)
  await sandbox.removeCodeContext(context)
  await assert.rejects(sandbox.removeCodeContext(context.id), /not found/)
  await assert.rejects(sandbox.restartCodeContext(context.id), /not found/)
  await assert.rejects(sandbox.runCode('1', { context }), /not found/)
  assert.ok(!(await sandbox.listCodeContexts()).some(other => other.id === context.id))
})

const inLanguage = (language, where = sandbox) => async (code, options) => {
  const execution = await where.runCode(code, { language, ...options })
  return { ...execution, text: execution.text, out: execution.logs.stdout.join(''), err: execution.logs.stderr.join('') }
}

promise('javascript_has_names_that_stay_and_can_be_said_again', async () => {
  const run = inLanguage('javascript')
  const first = await run('const x = 41; class A { hi() { return "hi" } }; x')
  assert.deepEqual([first.text, first.results[0].isMainResult, first.executionCount], ['41', true, 1])
  assert.equal((await run('const x = 42; x')).text, '42')
  assert.equal((await run('new A().hi()')).text, 'hi')
  assert.equal((await run('{ a: [x], b: "c" }')).text, "{ a: [ 42 ], b: 'c' }")
  assert.deepEqual((await run('let nothing')).results, [])
})

promise('javascript_imports_awaits_and_prints', async () => {
  const run = inLanguage('js')
  const told = await run('import path, { sep } from "path"\nimport * as fs from "fs"\nconsole.log("out"); console.error("err")\n' +
    'const late = await new Promise(done => setTimeout(() => done("late"), 50))\nlate + sep + typeof fs.readFileSync + typeof path.join')
  assert.deepEqual([told.text, told.out, told.err], ['late/functionfunction', 'out\n', 'err\n'])
  assert.equal((await run('console.log("x".repeat(200000)); late')).out.length, 200001)
  const seen = await run('({ [Symbol.for("Jupyter.display")]: () => ({ "text/html": "<b>b</b>", "application/json": { a: 1 } }) })')
  assert.deepEqual([seen.results[0].html, seen.results[0].json], ['<b>b</b>', { a: 1 }])
  assert.equal((await run('process.env.COLOUR + process.env.ONCE', { envs: { ONCE: "it's" } })).text, "blueit's")
  assert.equal((await run('process.env.ONCE ?? "gone"')).text, 'gone')
})

promise('javascript_says_what_is_wrong', async () => {
  const run = inLanguage('javascript')
  const { error } = await run('function bad() { throw new TypeError("bad") }\nbad()')
  assert.deepEqual([error.name, error.value], ['TypeError', 'bad'])
  assert.match(error.traceback, /at bad \(execution:1/)
  assert.doesNotMatch(error.traceback, /node_kernel/)
  assert.equal((await run('let = = 1')).error.name, 'SyntaxError')
  assert.deepEqual([(await run('await Promise.reject(3)')).error.value], ['3'])
  assert.match((await run('Promise.reject(new Error("of nobody")); await 1')).err, /of nobody/)
  assert.equal((await run('process.exit(1)')).error.name, 'KernelDied')
  assert.equal((await run('typeof x')).text, 'undefined')
})

promise('typescript_has_types_and_forgets_them', async () => {
  const run = inLanguage('typescript')
  assert.equal((await run('interface P { a: number }\nenum E { A, B }\nconst p: P = { a: E.B }; p.a')).text, '1')
  assert.equal((await run('const id = <T,>(v: T): T => v\nid(await Promise.resolve(p.a + 1))')).text, '2')
  assert.match((await run('let a: = 3')).error.value, /Type expected/)
  const context = await sandbox.createCodeContext({ language: 'typescript', cwd: '/tmp', requestTimeoutMs: 120_000 })
  assert.equal(context.language, 'typescript')
  assert.equal((await sandbox.runCode('typeof p + process.cwd()', { context })).text, 'undefined/tmp')
  await sandbox.removeCodeContext(context)
})

promise('bash_is_one_shell_that_goes_on', async () => {
  const run = inLanguage('bash')
  await run('word=kept; cd /tmp; f() { echo "f of $1"; }')
  const told = await run("echo $word; pwd; f me; echo err >&2; cat; read line || echo 'no input'")
  assert.deepEqual([told.out, told.err, told.error], ['kept\n/tmp\nf of me\nno input\n', 'err\n', undefined])
  assert.equal((await run('cat <<END\n$COLOUR $ONCE\nEND', { envs: { ONCE: "it's" } })).out, "blue it's\n")
  assert.equal((await run('echo "[$ONCE]"')).out, '[]\n')
  const { error } = await run('(exit 7)')
  assert.deepEqual([error.name, error.value], ['ExitCode', '7'])
  assert.match((await run('if then')).err, /syntax error/)
  assert.equal((await run('exit 1')).error.name, 'KernelDied')
  assert.equal((await run('echo "[$word]"')).out, '[]\n')
})

// In a sandbox of its own: not all kernels fit into the first one's memory at once.
const ofItsOwn = (language, endless, prove) => async () => {
  const own = await Sandbox.create({ timeoutMs: 600_000, envs: { COLOUR: 'blue' } })
  try {
    await prove(inLanguage(language, own))
    const context = await own.createCodeContext({ language, cwd: '/tmp', requestTimeoutMs: 180_000 })
    let running
    await new Promise(resolve => { running = own.runCode(endless, { context, onStdout: resolve }) })
    await own.restartCodeContext(context)
    assert.equal((await running).error.name, 'Interrupted')
  } finally {
    await own.kill()
  }
}

promise('r_has_names_that_stay_plots_and_tables', ofItsOwn('r', 'cat("runs\\n"); repeat Sys.sleep(0.1)', async (run) => {
  assert.equal((await run('x <- 41; y <- x + 1; y', { timeoutMs: 180_000 })).text, '[1] 42')
  const told = await run('cat("out\\n"); message("err"); "shown"; c(x, NA)')
  assert.deepEqual([told.out, told.err, told.results.map(result => [result.text, result.isMainResult])],
    ['out\n', 'err\n', [['[1] "shown"', false], ['[1] 41 NA', true]]])
  const { error } = await run('f <- function(a) stop("bad ", a); g <- function() f(3); g()')
  assert.deepEqual([error.name, error.value, error.traceback], ['ERROR', 'bad 3', 'g()\nf(3)\nstop("bad ", a)'])
  assert.match((await run('x +* 2')).error.value, /unexpected '\*'/)
  const [table] = (await run('data.frame(a = 1:2, b = c("u", NA))')).results
  assert.deepEqual(table.data, { a: [1, 2], b: ['u', null] })
  const [plot] = (await run('plot(1:3)')).results
  assert.equal(Buffer.from(plot.png, 'base64').subarray(1, 4).toString(), 'PNG')
  assert.equal((await run('paste(Sys.getenv("COLOUR"), Sys.getenv("ONCE"))', { envs: { ONCE: "it's" } })).text, '[1] "blue it\'s"')
  assert.equal((await run('Sys.getenv("ONCE", unset = NA)')).text, '[1] NA')
  assert.equal((await run('file <- 1; vapply <- 2; print.mine <- function(x) cat("mine"); rm(list = setdiff(ls(all.names = TRUE), "print.mine")); structure(1, class = "mine")')).text, 'mine')
  assert.equal((await run('quit()')).error.name, 'KernelDied')
  assert.equal((await run('exists("y")')).text, '[1] FALSE')
}))

promise('java_is_a_jshell', ofItsOwn('java', 'System.out.println("runs"); while (true) {}', async (run) => {
  assert.equal((await run('int x = 41;\nint next(int n) {\n  return n + 1;\n}\nnext(x)', { timeoutMs: 180_000 })).text, '42')
  const told = await run('System.out.println("out"); System.err.println("err"); List.of("a", x)')
  assert.deepEqual([told.text, told.out, told.err], ['[a, 41]', 'out\n', 'err\n'])
  assert.equal((await run('"a\\n" + "é"')).text, 'a\né')
  const { error } = await run('void f() { throw new IllegalStateException("bad"); }\nf()')
  assert.deepEqual([error.name, error.value], ['java.lang.IllegalStateException', 'bad'])
  assert.match(error.traceback, /at f\(/)
  assert.deepEqual([(await run('int z = "a";')).error.name, (await run('class A {')).error.value], ['CompilationError', 'reached end of file while parsing'])
  assert.equal((await run('System.getenv("COLOUR") + System.getenv("ONCE")', { envs: { ONCE: "it's" } })).text, "blueit's")
  assert.deepEqual((await run('System.getenv("ONCE")')).results, [])
  assert.equal((await run('System.exit(1)')).error.name, 'KernelDied')
  assert.equal((await run('x')).error.name, 'CompilationError')
}))

promise('a_restart_interrupts_what_runs_in_any_language', async () => {
  for (const [language, code, value] of [['javascript', 'console.log("runs"); while (true);', /interrupted/],
    ['javascript', 'console.log("runs"); await new Promise(() => {})', /interrupted/],
    ['bash', 'echo runs; while true; do sleep 0.1; done', /130/], ['python', 'print("runs")\nwhile True: pass', /^$/]]) {
    const context = await sandbox.createCodeContext({ language, requestTimeoutMs: 120_000 })
    let running
    await new Promise(resolve => { running = sandbox.runCode(code, { context, onStdout: resolve }) })
    await sandbox.restartCodeContext(context)
    assert.match((await running).error.value, value, `${language}: ${code}`)
    await sandbox.removeCodeContext(context)
  }
})

promise('code_that_nobody_waits_for_is_interrupted', async () => {
  await assert.rejects(sandbox.runCode('while True: pass', { timeoutMs: 2000 }), /timed out/i)
  assert.equal((await sandbox.runCode('6 * 7')).text, '42')
})

promise('a_kernel_that_dies_says_so_and_comes_back', async () => {
  const execution = await sandbox.runCode('import os; os._exit(1)')
  assert.equal(execution.error.name, 'KernelDied')
  assert.equal((await sandbox.runCode('6 * 7')).text, '42')
})

promise('what_is_wrong_with_a_request_is_told', async () => {
  await assert.rejects(sandbox.createCodeContext({ cwd: '/nowhere' }), /400/)
  await assert.rejects(sandbox.createCodeContext({ language: 'cobol' }), /400/)
  await assert.rejects(sandbox.runCode('1', { language: 'cobol' }), /400/)
  await assert.rejects(sandbox.runCode('1', { context: { id: 'nobody' } }), /not found/)
  const gone = await Sandbox.create()
  await gone.kill()
  await assert.rejects(gone.listCodeContexts(), /sandbox/i)
  await assert.rejects(gone.runCode('1'), /sandbox/i)
})

promise('files_and_commands_are_the_same_machine', async () => {
  await sandbox.files.write('data.csv', 'a,b\n1,2\n')
  assert.equal((await sandbox.runCode('pd.read_csv("data.csv").b[0] if "pd" in dir() else ' +
    '__import__("pandas").read_csv("data.csv").b[0]')).text, '2')
  assert.equal((await sandbox.commands.run('whoami')).stdout, 'user\n')
})

promise('what_pip_installs_is_there_at_once', async () => {
  await sandbox.files.write('/tmp/tiny/setup.py', "from setuptools import setup\nsetup(name='tiny', version='1', py_modules=['tiny'])\n")
  await sandbox.files.write('/tmp/tiny/tiny.py', "word = 'small'\n")
  await sandbox.commands.run('pip install --quiet --no-index --no-build-isolation /tmp/tiny', { timeoutMs: 120_000 })
  assert.equal((await sandbox.runCode('import tiny; tiny.word')).text, 'small')
})

await finish('js', () => sandbox?.kill())
