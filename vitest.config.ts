import { defineConfig } from 'vitest/config';

const conditions = ['source', 'import', 'node', 'default'];
/** Thorough rather than quick: what tries thousands of cases, compiles packages, or brings up whole nodes on real sockets. */
const proof = [
  'packages/raft-ts/test/{sim,readme,bench,fuzz}/**/*.test.ts',
  'packages/raft-ts/test/{wal/crash,wal/inspect,core/random,core/lease-random,transport/grpc}.test.ts',
  'src/manager/**/*properties.test.ts',
  'src/manager/log-stream.test.ts',
  'src/node/cluster-node.test.ts',
  'src/worker/network/dns/plane.test.ts',
];
const shared = { resolve: { conditions }, ssr: { resolve: { conditions } } };

/**
 * Five suites, one after the other, the quickest first: `unit` beside the sources, `proof` the thorough ones (raft-ts under a
 * thousand seeds, with its mutants, as an installed package), `sim` the seeded cluster, `contract` ports against real services,
 * `e2e` real hosts. The last two need root and share the machine's kernel, so their files take turns.
 */
export default defineConfig({
  test: {
    projects: [
      {
        ...shared,
        test: {
          name: 'unit',
          include: [
            'src/**/*.test.ts',
            'packages/*/src/**/*.test.ts',
            'packages/*/test/**/*.test.ts',
            'test/*.test.ts',
          ],
          exclude: proof,
          // Many small files: starting a process for each would take longer than running it.
          pool: 'threads',
          maxWorkers: 3,
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...shared,
        test: { name: 'proof', include: proof, testTimeout: 60_000, sequence: { groupOrder: 1 } },
      },
      {
        ...shared,
        test: { name: 'sim', include: ['test/sim/**/*.test.ts'], testTimeout: 600_000, sequence: { groupOrder: 2 } },
      },
      {
        ...shared,
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
      {
        ...shared,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
