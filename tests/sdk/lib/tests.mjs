// Tests of a program, in their order: promise(title, run) each, then finish(prefix), which prints a line for each and ends.
const tests = []

export const promise = (title, run) => tests.push([title, run])

export async function finish(prefix, cleanUp = async () => {}) {
  let failed = 0
  for (const [title, run] of tests) {
    const began = performance.now()
    try {
      await run()
      console.log(`ok ${prefix}.${title}`)
    } catch (error) {
      failed++
      console.log(error)
      console.log(`not ok ${prefix}.${title}`)
    }
    console.log(`   in ${Math.round(performance.now() - began)} ms`)
  }
  await cleanUp()
  process.exit(failed ? 1 : 0)
}
