import { defineConfig } from 'vitest/config';

const conditions = ['source', 'import', 'node', 'default'];
const shared = { resolve: { conditions }, ssr: { resolve: { conditions } } };

/**
 * Four suites, one after the other, the quickest first: `unit` beside the sources, `sim` the seeded cluster, `contract` ports
 * against real services, `e2e` real hosts. The last two need root and share the machine's kernel, so their files take turns.
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
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...shared,
        test: { name: 'sim', include: ['test/sim/**/*.test.ts'], testTimeout: 600_000, sequence: { groupOrder: 1 } },
      },
      {
        ...shared,
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
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
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
