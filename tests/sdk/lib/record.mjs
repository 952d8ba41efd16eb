// Notes which rows of rows.mjs a test program really calls, and what became of the calls.  Loaded before the program:
//   RECORD_ROWS=rows.json RECORD_INTO=coverage.jsonl node --import ./lib/record.mjs PROGRAM.mjs PACKAGE
// The program is not changed and knows nothing of it.  Methods of the package's classes are wrapped in place by ones that
// pass everything on; what a method calls of its own package is not noted.  A program prints "ok NAME" or "not ok NAME"
// after each test: the calls since the line before are that test's.
import { AsyncLocalStorage } from 'node:async_hooks'
import { appendFileSync, readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

const offered = JSON.parse(readFileSync(process.env.RECORD_ROWS, 'utf8'))
const rows = new Set(offered.rows)
const inside = new AsyncLocalStorage()
const wrapped = new WeakSet()
let calls = []

// The paths of an argument's options, as rows name them: {a: {b: 'c'}} is a, a.b and a.b='c'; any key may also be a "*".
function pathsOf(value, prefix, add, depth = 0) {
  if (typeof value === 'string' && prefix) add(`${prefix}='${value}'`)
  else if (Array.isArray(value)) value.forEach((one) => pathsOf(one, prefix, add, depth))
  else if (value && typeof value === 'object' && depth < 6) {
    const isPlain = [Object.prototype, null].includes(Object.getPrototypeOf(value))
    const fields = value instanceof Map ? [...value] : isPlain ? Object.entries(value) : []
    for (const [key, field] of fields.filter(([, field]) => field !== undefined)) {
      for (const name of prefix ? [key, '*'] : [key]) {
        const at = prefix ? `${prefix}.${name}` : name
        add(at)
        pathsOf(field, at, add, depth + 1)
      }
    }
  }
}

function note(name, args, outcome) {
  const used = new Set([name])
  for (const argument of args) pathsOf(argument, '', (option) => used.add(`${name}(${option})`))
  for (const row of used) if (rows.has(row)) calls.push([row, outcome])
}

function recorded(name, args, run) {
  if (inside.getStore()) return run()
  return inside.run(true, () => {
    let answer
    try {
      answer = run()
    } catch (error) {
      note(name, args, 'threw')
      throw error
    }
    if (typeof answer?.then !== 'function') {
      note(name, args, 'returned')
      return met(answer)
    }
    return answer.then((value) => {
      note(name, args, 'returned')
      return met(value)
    }, (error) => {
      note(name, args, 'threw')
      throw error
    })
  })
}

function wrapMethods(owner, names, prefix) {
  for (const method of names) {
    const original = owner[method]
    if (typeof original !== 'function') continue
    Object.defineProperty(owner, method, { configurable: true, writable: true, value(...args) {
      return recorded(`${prefix}.${method}`, args, () => Reflect.apply(original, this, args))
    } })
  }
}

function wrapClass(constructor) {
  const known = Object.hasOwn(offered.classes, constructor.name) && offered.classes[constructor.name]
  if (!known || wrapped.has(constructor)) return
  wrapped.add(constructor)
  wrapMethods(constructor, known.statics, known.name)
  wrapMethods(constructor.prototype, known.methods, known.prefix)
}

// A value that came out of the package: its class, those of its parts, and those it inherits from may be of interest.
function met(value, depth = 0) {
  if (!value || typeof value !== 'object' || depth > 1) return value
  if (Array.isArray(value)) value.forEach((one) => met(one, depth))
  else if (value.constructor && value.constructor !== Object) {
    for (let at = value.constructor; at?.name; at = Object.getPrototypeOf(at)) wrapClass(at)
    Object.values(value).forEach((part) => met(part, depth + 1))
  }
  return value
}

// What a program imports: functions and "new" cannot be wrapped in place, so they are noted on their way out.
globalThis[Symbol.for('flotilla.recorded')] = (name, value) => {
  if (typeof value !== 'function') return value
  if (offered.functions.includes(name)) return (...args) => recorded(name, args, () => value(...args))
  wrapClass(value)
  const isMade = Object.values(offered.classes).some((one) => one.constructor === true && one.name === name)
  return !isMade ? value : new Proxy(value, {
    construct: (target, args, as) => recorded(`new ${name}`, args, () => Reflect.construct(target, args, as)),
    apply: (target, self, args) => recorded(`new ${name}`, args, () => Reflect.apply(target, self, args)),
  })
}

const isProgram = (url) => url?.startsWith('file:') && !url.includes('/node_modules/')
registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context)
    if (specifier !== offered.package || !isProgram(context.parentURL)) return found
    return { ...found, url: `recorded:${found.url}`, shortCircuit: true }
  },
  load(url, context, next) {
    if (!url.startsWith('recorded:')) return next(url, context)
    const real = JSON.stringify(url.slice('recorded:'.length))
    const lines = offered.exports.map((name, at) =>
      `const e${at} = note(${JSON.stringify(name)}, real[${JSON.stringify(name)}]); export { e${at} as ${name} };`)
    return { format: 'module', shortCircuit: true, source:
      `import * as real from ${real}; const note = globalThis[Symbol.for('flotilla.recorded')];\n${lines.join('\n')}\n` }
  },
})

const write = process.stdout.write.bind(process.stdout)
process.stdout.write = (text, ...rest) => {
  for (const [, verdict, test] of String(text).matchAll(/^(ok|not ok) (\S+)/gm)) {
    appendFileSync(process.env.RECORD_INTO, JSON.stringify({ test, ok: verdict === 'ok', calls }) + '\n')
    calls = []
  }
  return write(text, ...rest)
}
