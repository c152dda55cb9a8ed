/** What is measured, and what SwarmKit 2.1.0 needed for it (Go 1.19, two shared cores, store but no Raft; recorded). */

export interface Case {
  readonly name: string;
  readonly nodes: number;
  readonly tasks: number;
  /** Only every third node will do. */
  readonly constrained: boolean;
  /** `group`: one service, as users have it. `one-off`: every task is of a service of its own, as SwarmKit's benchmark has it. */
  readonly path: 'group' | 'one-off';
  /** SwarmKit's time, ms. */
  readonly peer?: number;
  readonly must?: number;
  readonly should?: number;
}

const group = { constrained: false, path: 'group', must: 1, should: 1 / 4 } as const;
const constrained = { constrained: true, path: 'one-off' } as const;
const oneOff = { constrained: false, path: 'one-off' } as const;

export const cases: readonly Case[] = [
  { ...group, name: '1k/1k', nodes: 1_000, tasks: 1_000, peer: 89 },
  { ...group, name: '1k/10k', nodes: 1_000, tasks: 10_000, peer: 490 },
  { ...group, name: '1k/100k', nodes: 1_000, tasks: 100_000, peer: 5_690 },
  { ...group, name: '100k/1k', nodes: 100_000, tasks: 1_000, peer: 280, should: 1 / 2 },
  { ...group, name: '1k/1k constrained', nodes: 1_000, tasks: 1_000, constrained: true },
  { ...group, name: '1k/10k constrained', nodes: 1_000, tasks: 10_000, constrained: true },
  { ...group, name: '1k/100k constrained', nodes: 1_000, tasks: 100_000, constrained: true },
  { ...oneOff, name: '1k/1k one-off', nodes: 1_000, tasks: 1_000, peer: 82 },
  { ...oneOff, name: '1k/10k one-off', nodes: 1_000, tasks: 10_000, peer: 631 },
  { ...constrained, name: '1k/1k one-off constrained', nodes: 1_000, tasks: 1_000, peer: 103 },
  { ...constrained, name: '1k/10k one-off constrained', nodes: 1_000, tasks: 10_000, peer: 766 },
];
