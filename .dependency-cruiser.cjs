/** Who may import whom: the architecture, checked by `npm run lint`. Each ban carries its reason. */
const only = (layer, allowed, comment) => ({
  name: `${layer.replaceAll('/', '-')}-imports`,
  comment,
  severity: 'error',
  from: { path: `^src/${layer}/`, pathNot: '\\.test\\.ts$|/testing/|/testdata/' },
  to: { path: '^src/', pathNot: [layer, ...allowed].map((part) => `^src/${part}/`) },
});

module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    only('lib', [], 'the floor: imports nothing of ours'),
    only('model', ['lib'], 'the vocabulary everyone may import'),
    only('rpc', ['pki', 'model', 'lib'], 'knows peers, not what they do'),
    only('pki', ['model', 'lib'], 'is told what to sign; never reads the store'),
    only('scheduler', ['model', 'lib'], 'pure: placements are a function of values'),
    only('stack', ['model', 'lib'], 'pure: YAML in, specs out'),
    only('client', ['model', 'lib'], 'speaks HTTP only'),
    only('cli', ['client', 'stack', 'model', 'lib', 'node'], 'a client of the API like any other'),
    only('api', ['scheduler', 'model', 'lib', 'rpc'], 'sees the cluster through its backends, never the store'),
    only('worker', ['pki', 'rpc', 'model', 'lib'], 'shares only words with the manager'),
    only('manager/store', ['model', 'lib'], 'Raft is behind the Proposer port'),
    only('manager/orchestrator', ['manager/store', 'scheduler', 'model', 'lib'], 'loops meet in the store'),
    only('manager/allocator', ['manager/store', 'model', 'lib'], 'loops meet in the store'),
    only('manager/allocator', ['manager/store', 'model', 'lib'], 'loops meet in the store'),
    only('manager/placement', ['manager/store', 'scheduler', 'model', 'lib'], 'loops meet in the store'),
    only('manager/dispatcher', ['manager/store', 'rpc', 'model', 'lib'], 'loops meet in the store'),
    only('manager/controlapi', ['manager/store', 'scheduler', 'model', 'lib'], 'the only door for writes'),
    {
      name: 'only-manager-raft-drives-raft',
      comment: 'everyone else proposes through the store',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/manager/raft/|^src/node/' },
      to: { path: '^packages/raft-ts/' },
    },
    ...Object.entries({ host: 'overlay|dns', overlay: 'dns', dns: 'overlay' }).map(([part, others]) => ({
      name: `network-${part}-stands-alone`,
      comment: 'the parts of the network driver meet in driver.ts; what they share of the kernel is in host',
      severity: 'error',
      from: { path: `^src/worker/network/${part}/`, pathNot: '\\.test\\.ts$|/testing/' },
      to: { path: `^src/worker/network/(${others})/` },
    })),
    {
      name: 'pure-has-no-io',
      comment: 'decisions are functions of values; the world comes in through ports',
      severity: 'error',
      from: {
        path: '^(packages/raft-ts/src/core|src/(lib|model|scheduler|stack|manager/(store|orchestrator|allocator|placement|dispatcher|controlapi)))/',
        pathNot: '^src/(lib/real|stack/read)\\.ts$|\\.test\\.ts$|/testing/',
      },
      to: { dependencyTypes: ['core'], pathNot: '^(node:)?(buffer|net)$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.base.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['source', 'import', 'node', 'default'] },
  },
};
