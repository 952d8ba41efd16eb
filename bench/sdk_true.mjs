// How long a program waits for its first command: Sandbox.create() and commands.run('true'), through E2B's
// SDK, on a sandbox never used before.  usage: node sdk_true.mjs PACKAGE ROUNDS FIGURE (E2B_* in the environment)
const [name, rounds, figure] = process.argv.slice(2)
const { Sandbox } = await import(name)
const times = []

for (let round = 0; round < Number(rounds); round++) {
  const began = performance.now()
  const sandbox = await Sandbox.create('base')
  await sandbox.commands.run('true')
  times.push(performance.now() - began)
  await sandbox.kill()
  await new Promise((done) => setTimeout(done, 600)) // the pool fills again
}
times.sort((a, b) => a - b)
const at = (share) => Number(times[Math.min(times.length - 1, Math.floor(times.length * share))].toFixed(2))
console.log(JSON.stringify({ figure, unit: 'ms', n: times.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), min: at(0), max: at(1) }))
process.exit(0)
