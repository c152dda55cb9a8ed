/** `npm run sim:mutants -w raft-ts`: puts known bugs into the sources, one at a time, and demands that each is noticed. */
import { performance } from 'node:perf_hooks';
import { RaftCore } from '../../src/core/index.ts';
import type { simulate as simulateReal } from '../../src/sim/simulate.ts';
import { explore, roots } from '../explore/explore.ts';
import { settle } from '../sim/batch.ts';
import type { CoreClass } from './bench.ts';
import { type TestBuild, testBuild } from './build.ts';
import { type Mutant, mutants } from './mutants.ts';
import { firstBroken } from './scenarios.ts';

const seedsMax = 2000;
const budgetMs = 300_000;
const explorationSeconds = 120;

interface Verdict {
  readonly caught: string | undefined;
  /** How it was looked for, and how long that took. */
  readonly by: string;
}

async function judge(mutant: Mutant): Promise<Verdict> {
  if (mutant.shownBy === 'exploration') return byExploration(mutant);
  const build = await testBuild(mutant);
  try {
    return mutant.shownBy === 'scenario' ? await byScenario(build) : await bySimulation(build);
  } finally {
    await build.remove();
  }
}

async function byExploration(mutant: Mutant): Promise<Verdict> {
  const found = (await explore({ seconds: explorationSeconds, roots: roots.slice(1, 2), mutant })).find(
    ({ violation }) => violation,
  );
  return { caught: found?.violation?.what, by: `exploration, ${found?.steps ?? 0} steps` };
}

async function byScenario(build: TestBuild): Promise<Verdict> {
  const { RaftCore } = (await build.load('core/index.ts')) as { readonly RaftCore: CoreClass };
  const broken = firstBroken(RaftCore);
  return { caught: broken?.what, by: `scenario ${broken?.name ?? ''}` };
}

async function bySimulation(build: TestBuild): Promise<Verdict> {
  const { simulate } = (await build.load('sim/simulate.ts')) as { readonly simulate: typeof simulateReal };
  const begin = performance.now();
  for (let seed = 1; seed <= seedsMax; seed++) {
    const { violation } = await simulate({ seed, settle });
    if (violation !== undefined) return { caught: short(violation.message), by: `${seed} seeds` };
    if (performance.now() - begin > budgetMs) return { caught: undefined, by: `${seed} seeds` };
  }
  return { caught: undefined, by: `${seedsMax} seeds` };
}

function short(message: string): string {
  const [line] = message.split('\n');
  return (line ?? '').replace(/ at step \d+, [\d.]+ ms/, '').slice(0, 110);
}

async function main(): Promise<void> {
  const wanted = process.argv.slice(2);
  const chosen = mutants.filter(({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)));
  if (chosen.length === 0) throw new RangeError(`no mutant is called ${wanted.join(' or ')}`);
  const broken = firstBroken(RaftCore);
  if (broken !== undefined) throw new Error(`scenario ${broken.name} fails without any mutant: ${broken.what}`);
  let survivors = 0;
  for (const mutant of chosen) {
    const { caught, by } = await judge(mutant);
    if (caught === undefined) survivors += 1;
    console.log(`${caught === undefined ? 'SURVIVED' : 'caught  '} ${by.padEnd(28)} ${mutant.name} [${mutant.report}]`);
    if (caught !== undefined) console.log(`${' '.repeat(38)}${caught}`);
  }
  console.log(`${chosen.length} mutants, ${chosen.length - survivors} caught, ${survivors} survived`);
  if (survivors > 0) process.exitCode = 1;
}

await main();
