/** `npm run explore -w raft-ts -- [--seconds N]`: see docs/simulation.md. */
import { explore } from './explore.ts';

function secondsOf(args: readonly string[]): number {
  const at = args.indexOf('--seconds');
  const seconds = at < 0 ? 120 : Number(args[at + 1]);
  if (!(seconds > 0)) throw new RangeError('usage: explore [--seconds N]');
  return seconds;
}

async function main(): Promise<void> {
  let violations = 0;
  for (const { root, states, steps, depth, exhausted, violation } of await explore({
    seconds: secondsOf(process.argv.slice(2)),
  })) {
    const end = exhausted ? 'all there is' : `all of depth ${depth}`;
    console.log(
      `${root}: ${states} states, ${steps} steps, ${end}, ${violation === undefined ? 'nothing found' : violation.what}`,
    );
    if (violation === undefined) continue;
    violations += 1;
    console.log(violation.path.map((step, at) => `  ${at + 1}. ${step}`).join('\n'));
  }
  console.log(violations === 0 ? 'passed' : `FAILED: ${violations} violations`);
  if (violations > 0) process.exitCode = 1;
}

await main();
