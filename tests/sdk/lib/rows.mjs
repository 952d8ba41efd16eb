// What an npm package of E2B's offers, from its published types: a row for each public method and function, and one for
// each option of its parameters, nested ones with their path, choices of words with their value:
//   Sandbox.create   Sandbox.create(network.allowOut)   sandbox.files.read(format='bytes')
// usage: node lib/rows.mjs PACKAGE   (prints {classes, rows} as JSON; packages are looked for beside the caller's folder)
import { readFileSync } from 'node:fs'
import path from 'node:path'
import ts from 'typescript'

const folder = path.resolve('node_modules', process.argv[2])
const manifest = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'))
const types = path.join(folder, manifest.types ?? 'dist/index.d.ts')
const program = ts.createProgram([types], { moduleResolution: ts.ModuleResolutionKind.Node10, strict: true, skipLibCheck: true })
const checker = program.getTypeChecker()

// Too wide to be rows: its two hundred catalogue entries are data of one option.
const OPAQUE = new Set(['McpServer', 'GitHubMcpServer'])
const DEEPEST = 5

const declared = (symbol) => symbol?.declarations?.[0]
const isOurs = (symbol) => declared(symbol)?.getSourceFile().fileName.startsWith(path.dirname(types)) ?? false
const isHidden = (node) => ts.getJSDocTags(node).some((tag) => ['internal', 'hidden'].includes(tag.tagName.text))
const isPrivate = (node) => (ts.getCombinedModifierFlags(node) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) !== 0

function optionsOf(type, prefix, depth, add) {
  for (const part of type.isUnion() ? type.types : [type]) {
    if (part.isStringLiteral() && prefix) add(`${prefix}='${part.value}'`)
    else if (checker.isArrayType(part)) optionsOf(checker.getTypeArguments(part)[0], prefix, depth, add)
    else if (part.flags & ts.TypeFlags.Object || part.isIntersection()) fieldsOf(part, prefix, depth, add)
  }
}

function fieldsOf(type, prefix, depth, add) {
  const name = type.aliasSymbol?.name ?? type.symbol?.name
  if (depth > DEEPEST || type.isClass() || OPAQUE.has(name) || checker.getSignaturesOfType(type, ts.SignatureKind.Call).length) return
  if (methodsOf(type).length) return // a thing that does something is no set of options
  const any = checker.getIndexTypeOfType(type, ts.IndexKind.String)
  if (any) optionsOf(any, prefix && `${prefix}.*`, depth + 1, add)
  for (const field of checker.getPropertiesOfType(type)) {
    if (!isOurs(field) || isPrivate(declared(field))) continue
    const at = prefix ? `${prefix}.${field.name}` : field.name
    add(at)
    optionsOf(checker.getTypeOfSymbol(field), at, depth + 1, add)
  }
}

const rows = new Set()

function addCall(name, signatures) {
  rows.add(name)
  for (const signature of signatures) {
    for (const parameter of signature.getParameters()) {
      optionsOf(checker.getTypeOfSymbol(parameter), '', 0, (option) => rows.add(`${name}(${option})`))
    }
  }
}

const methodsOf = (type) => checker.getPropertiesOfType(type).filter((member) => {
  const node = declared(member)
  return node && isOurs(member) && (ts.isMethodDeclaration(node) || ts.isMethodSignature(node)) && !isPrivate(node)
})

const classes = {} // by the name that the package's code gives it: how rows call it, its statics, its methods
const lower = (name) => name[0].toLowerCase() + name.slice(1)

function addClass(symbol, name, prefix) {
  const node = declared(symbol)
  if (classes[symbol.name] || !node || !ts.isClassDeclaration(node) || /Error$/.test(symbol.name)) return
  const own = classes[symbol.name] = { name, prefix, statics: [], methods: [], constructor: false }
  const whole = checker.getTypeOfSymbolAtLocation(symbol, node)
  for (const [type, list, owner] of [[whole, own.statics, name], [checker.getDeclaredTypeOfSymbol(symbol), own.methods, prefix]]) {
    for (const member of methodsOf(type)) {
      list.push(member.name)
      addCall(`${owner}.${member.name}`, checker.getSignaturesOfType(checker.getTypeOfSymbol(member), ts.SignatureKind.Call))
    }
  }
  // What a program makes with "new" is what it is given options for; the rest is made by the package.
  if (['E2B', 'Template', 'ReadyCmd'].includes(name)) {
    own.constructor = true
    addCall(`new ${name}`, checker.getSignaturesOfType(whole, ts.SignatureKind.Construct))
  }
  for (const member of checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbol))) {
    const part = checker.getTypeOfSymbol(member).symbol
    if (name === 'Sandbox' && isOurs(member) && !isPrivate(declared(member)) && part) addClass(part, part.name, `${prefix}.${member.name}`)
  }
}

const source = program.getSourceFile(types)
const functions = []
const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(source))
  .map((symbol) => [symbol.name, symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol])
  .filter(([, symbol]) => isOurs(symbol))
const connection = new Set(['ConnectionConfig', 'VolumeConnectionConfig', 'ApiClient']) // plumbing that others are made of
const named = (name) => exported.find(([as]) => as === name)
for (const [name, symbol] of [named('Sandbox'), ...exported].filter(Boolean)) {
  const node = declared(symbol)
  if (connection.has(name) || name === 'default') continue
  if (ts.isFunctionDeclaration(node)) {
    functions.push(name)
    addCall(name, checker.getSignaturesOfType(checker.getTypeOfSymbol(symbol), ts.SignatureKind.Call))
  } else if (ts.isClassDeclaration(node)) {
    const as = symbol.name === 'TemplateBase' ? 'Template' : symbol.name
    addClass(symbol, as, lower(as))
  }
}
// Values, which are what a program can import; types are gone by then.
const values = checker.getExportsOfModule(checker.getSymbolAtLocation(source)).filter((symbol) => {
  const real = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  return real.flags & ts.SymbolFlags.Value
}).map((symbol) => symbol.name)
// An inherited method is a row of the class that a program sees; only what is exported or a sandbox's part is one.
process.stdout.write(JSON.stringify({ package: process.argv[2], version: manifest.version, classes, functions, exports: values, rows: [...rows] }, null, 1))
