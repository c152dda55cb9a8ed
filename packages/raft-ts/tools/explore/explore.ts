/**
 * Every order of events of a small cluster, as deep as the time allows: iterative deepening over copies of the real cores,
 * with states that were met at the same depth or nearer to the root passed over.
 */
import { performance } from 'node:perf_hooks';
import type { Mutant } from '../mutants/mutants.ts';
import { Actions } from './actions.ts';
import { openBuild } from './open-build.ts';
import { type CoreClass, type Root, State } from './state.ts';

export const roots: readonly Root[] = [
  {
    name: 'three nodes that have just been founded',
    hosts: [1, 2, 3].map(() => ({ term: 1, vote: 0, terms: [], up: true })),
    budget: { term: 4, campaigns: 3, proposals: 1, crashes: 2, copies: 1, beats: 2 },
  },
  {
    name: 'an entry of an old term at one node, another at another (paper, figure 8)',
    hosts: [
      { term: 3, vote: 0, terms: [2], up: true },
      { term: 3, vote: 3, terms: [], up: true },
      { term: 4, vote: 3, terms: [3], up: true },
    ],
    budget: { term: 5, campaigns: 2, proposals: 0, crashes: 0, copies: 0, beats: 0 },
  },
  {
    name: 'logs that have parted (paper, figure 7)',
    hosts: [
      { term: 4, vote: 1, terms: [2, 4], up: true },
      { term: 4, vote: 1, terms: [2, 3, 3], up: true },
      { term: 3, vote: 2, terms: [2], up: true },
    ],
    budget: { term: 7, campaigns: 3, proposals: 1, crashes: 1, copies: 1, beats: 1 },
  },
];

export interface Explored {
  readonly root: string;
  readonly states: number;
  readonly steps: number;
  /** Every sequence of so many events was tried. */
  readonly depth: number;
  readonly exhausted: boolean;
  readonly violation?: { readonly what: string; readonly path: readonly string[] };
}

class OutOfTime extends Error {
  override readonly name = 'OutOfTime';
}

export async function explore(options: {
  readonly seconds: number;
  readonly roots?: readonly Root[];
  readonly mutant?: Mutant;
}): Promise<Explored[]> {
  const chosen = options.roots ?? roots;
  const build = await openBuild(options.mutant);
  try {
    const { RaftCore } = (await build.load('core/index.ts')) as { readonly RaftCore: CoreClass };
    const share = (options.seconds * 1000) / chosen.length;
    return chosen.map((root) => new Search(RaftCore, root).run(performance.now() + share));
  } finally {
    await build.remove();
  }
}

class Search {
  readonly #actions: Actions;
  readonly #root: Root;
  /** Fingerprint to the depth that was left when it was last looked at. */
  #seen = new Map<number, number>();
  #steps = 0;
  #cut = false;
  #endMs = 0;
  #violation: Explored['violation'];

  constructor(Core: CoreClass, root: Root) {
    this.#actions = new Actions(Core);
    this.#root = root;
  }

  run(endMs: number): Explored {
    this.#endMs = endMs;
    const begin = new State(this.#root);
    for (const [at, host] of begin.hosts.entries()) if (this.#root.hosts[at]?.up === true) this.#actions.start(host);
    let depth = 0;
    let exhausted = false;
    try {
      while (!exhausted && this.#violation === undefined) {
        this.#cut = false;
        this.#visit(begin, depth + 1, []);
        depth += 1;
        exhausted = !this.#cut;
      }
    } catch (error) {
      if (!(error instanceof OutOfTime)) throw error;
    }
    const found = this.#violation === undefined ? {} : { violation: this.#violation };
    return { root: this.#root.name, states: this.#seen.size, steps: this.#steps, depth, exhausted, ...found };
  }

  #visit(state: State, left: number, path: readonly string[]): void {
    if (left === 0) {
      this.#cut = true;
      return;
    }
    for (const action of this.#actions.possible(state)) {
      const next = state.copy();
      this.#steps += 1;
      if (this.#steps % 64 === 0 && performance.now() > this.#endMs) throw new OutOfTime();
      const here = [...path, action.name];
      try {
        action.run(next);
      } catch (error) {
        next.broken = error instanceof Error ? error.message : String(error);
      }
      if (next.broken !== undefined) {
        this.#violation = { what: next.broken, path: here };
        return;
      }
      if (this.#isNew(next, left - 1)) this.#visit(next, left - 1, here);
      if (this.#violation !== undefined) return;
    }
  }

  #isNew(state: State, left: number): boolean {
    const key = fingerprint(state.print());
    const before = this.#seen.get(key);
    if (before !== undefined && before >= left) return false;
    this.#seen.set(key, left);
    return true;
  }
}

/** 53 bits: among ten million states two are confused with a probability of one in two hundred. */
function fingerprint(text: string): number {
  let a = 0x811c9dc5;
  let b = 0x9e3779b9;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b) ^ (b >>> 13);
  }
  return (a >>> 0) * 2 ** 21 + (b >>> 11);
}
