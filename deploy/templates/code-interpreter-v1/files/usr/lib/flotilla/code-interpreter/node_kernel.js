// A kernel of JavaScript or TypeScript: node's own REPL without its terminal, so that names stay and `await` stands anywhere.
// usage: node node_kernel.js EVENTS_FD LANGUAGE     a line of JSON in: {code, envs, ownEnvs}
'use strict'
const fs = require('fs')
const readline = require('readline')
const repl = require('repl')
const { PassThrough } = require('stream')
const ts = require('typescript')
const { inspect } = require('util')
const vm = require('vm')

const eventsFd = Number(process.argv[2])
const isTypeScript = process.argv[3] === 'typescript'
const { factory, SyntaxKind } = ts

const tell = event => fs.writeSync(eventsFd, JSON.stringify(event) + '\n')

// ---- the code as the REPL can have it again and again ----

const parse = code => ts.createSourceFile('execution.ts', code, ts.ScriptTarget.ES2022, true,
  isTypeScript ? ts.ScriptKind.TS : ts.ScriptKind.JS)

const variable = (name, value) => factory.createVariableStatement(undefined, factory.createVariableDeclarationList(
  [factory.createVariableDeclaration(name, undefined, undefined, value)], ts.NodeFlags.None))

const isExport = modifier => [SyntaxKind.ExportKeyword, SyntaxKind.DefaultKeyword].includes(modifier.kind)

// `import` is not for scripts; `await import()` is.
function imported (node) {
  const clause = node.importClause
  if (clause?.isTypeOnly) return []
  const module = factory.createAwaitExpression(factory.createCallExpression(
    factory.createIdentifier('import'), undefined, [node.moduleSpecifier]))
  if (!clause) return [factory.createExpressionStatement(module)]
  const made = []
  const named = clause.namedBindings
  const fields = clause.name ? [factory.createBindingElement(undefined, 'default', clause.name)] : []
  if (named && ts.isNamespaceImport(named)) made.push(variable(named.name, module))
  for (const field of named?.elements ?? []) {
    if (!field.isTypeOnly) fields.push(factory.createBindingElement(undefined, field.propertyName, field.name))
  }
  if (fields.length) made.push(variable(factory.createObjectBindingPattern(fields), module))
  return made
}

// `let`, `const` and `class` could not be said a second time.
function again (node) {
  if (ts.isImportDeclaration(node)) return imported(node)
  if (node.modifiers?.some(modifier => modifier.kind === SyntaxKind.DeclareKeyword)) return node
  const modifiers = node.modifiers?.filter(modifier => !isExport(modifier))
  if (ts.isVariableStatement(node)) {
    return factory.createVariableStatement(undefined,
      factory.createVariableDeclarationList(node.declarationList.declarations, ts.NodeFlags.None))
  }
  if (ts.isClassDeclaration(node) && node.name) {
    return variable(node.name, factory.createClassExpression(modifiers?.filter(ts.isDecorator), node.name,
      node.typeParameters, node.heritageClauses, node.members))
  }
  if (ts.isFunctionDeclaration(node) && node.name) {
    return factory.updateFunctionDeclaration(node, modifiers, node.asteriskToken, node.name, node.typeParameters,
      node.parameters, node.type, node.body)
  }
  return node
}

function prepared (code) {
  if (/^\s*\{[^]*\}\s*$/.test(code) && !parse(`(${code})`).parseDiagnostics.length) code = `(${code})` // an object, no block
  const source = parse(code)
  const fault = source.parseDiagnostics[0]
  if (fault && !isTypeScript) return code // node says it better
  if (fault) {
    const { line, character } = source.getLineAndCharacterOfPosition(fault.start)
    throw new SyntaxError(`${ts.flattenDiagnosticMessageText(fault.messageText, ' ')} (${line + 1}:${character + 1})`)
  }
  const { transformed } = ts.transform(source, [() => file => factory.updateSourceFile(file, file.statements.flatMap(again))])
  const text = ts.createPrinter().printFile(transformed[0])
  if (!isTypeScript) return text
  return ts.transpileModule(text, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext } }).outputText
}

// ---- executions ----

const server = repl.start({ input: new PassThrough(), output: new PassThrough(), prompt: '', terminal: false, useGlobal: true })
const RUN = Symbol.for('execution') // what a script of its own calls, since only that can be broken off
const uncaught = error => console.error('Uncaught', error)
let failed = null // of the execution that goes on

process.on('SIGINT', () => failed?.(Object.assign(new Error('interrupted'), { stack: '' }))) // while it waits; vm sees to it while it runs
process.on('unhandledRejection', uncaught)
// What the REPL evaluates belongs to a domain of its own, which hears of what is thrown, then or later.
server.eval('process.domain\n', server.context, 'execution', (_, domain) => {
  domain.removeAllListeners('error')
  domain.on('error', error => (failed ?? uncaught)(error))
})

function evaluated (code) {
  return new Promise((resolve, reject) => {
    failed = reject
    const text = prepared(code) + '\n'
    globalThis[RUN] = () => server.eval(text, server.context, 'execution', (error, value) => error ? reject(error.err ?? error) : resolve(value))
    vm.runInThisContext(`globalThis[Symbol.for('${RUN.description}')]()`, { breakOnSigint: true })
  }).finally(() => { failed = null })
}

// As Deno's kernel has it: an object may say what it looks like.
const shown = async value => await value?.[Symbol.for('Jupyter.display')]?.() ??
  { 'text/plain': typeof value === 'string' ? value : inspect(value) }

function put (envs) {
  for (const [name, value] of Object.entries(envs)) {
    if (value === undefined) delete process.env[name]
    else process.env[name] = value
  }
}

async function execute ({ code, envs, ownEnvs }) {
  put(envs)
  const before = Object.fromEntries(Object.keys(ownEnvs).map(name => [name, process.env[name]]))
  put(ownEnvs)
  try {
    const value = await evaluated(code)
    if (value !== undefined) tell({ type: 'data', data: await shown(value), is_main: true })
  } catch (error) {
    const isError = error?.stack !== undefined
    tell({ type: 'error', name: isError ? error.name : 'Uncaught', value: isError ? error.message : inspect(error),
      traceback: isError ? error.stack.replace(/\n +at [^\n]*\(node:vm[^]*/, '') : '' }) // and not what is ours
  }
  put(before)
  // What was shown, and a promise that nobody took, are out before that is said.
  await new Promise(resolve => setImmediate(resolve))
  for (const stream of [process.stdout, process.stderr]) await new Promise(resolve => stream.write('', resolve))
  tell({ type: 'done' })
}

readline.createInterface({ input: process.stdin }).on('line', line => execute(JSON.parse(line)))
