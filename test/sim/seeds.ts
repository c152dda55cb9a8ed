/** Which seeds the suite runs: a fixed range, or SIM_SEEDS=A..B; each of the two test files takes every other one. */
import { World } from './world.ts';

const defaultSeeds = '1..300';
const perTest = 20;

function seedsOf(text: string): readonly number[] {
  const match = /^(\d+)(?:\.\.(\d+))?$/.exec(text);
  if (match === null) throw new Error(`not a seed or a range A..B: ${text}`);
  const first = Number(match[1]);
  return Array.from({ length: Number(match[2] ?? first) - first + 1 }, (_, at) => first + at);
}

/** Seeds of one half, in groups of one test each. */
export function seedGroups(half: 0 | 1): readonly { readonly name: string; readonly seeds: readonly number[] }[] {
  const seeds = seedsOf(process.env['SIM_SEEDS'] ?? defaultSeeds).filter((seed) => seed % 2 === half);
  const groups: { name: string; seeds: readonly number[] }[] = [];
  for (let at = 0; at < seeds.length; at += perTest) {
    const group = seeds.slice(at, at + perTest);
    groups.push({ name: `${group[0]} to ${group.at(-1)}`, seeds: group });
  }
  return groups;
}

/** One line per seed that failed, with the command that replays it. */
export async function failures(seeds: readonly number[]): Promise<readonly string[]> {
  const failed: string[] = [];
  for (const seed of seeds) {
    try {
      await new World(seed).simulate();
    } catch (error) {
      failed.push(`npm run sim -- --seed ${seed} --trace: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return failed;
}
