import { expect, test } from 'vitest';
import { silentLog } from '../../lib/log.ts';
import { VirtualClock } from '../../lib/testing/virtual-clock.ts';
import { CommitLoop, type CommitLoopOptions } from './commit-loop.ts';
import { createStore } from './store.ts';

function setUp(over: Partial<CommitLoopOptions> = {}) {
  const clock = new VirtualClock();
  const store = createStore({ proposer: null, now: () => clock.now() });
  const told: string[] = [];
  const loop = new CommitLoop({
    store,
    clock,
    log: silentLog,
    doing: 'testing',
    retryMs: 500,
    record: (events) => {
      told.push(...events.map(({ table }) => `record ${table}`));
      return events.some(({ table }) => table === 'network');
    },
    markAll: () => void told.push('mark all'),
    run: async () => void told.push('run'),
    ...over,
  });
  const create = (table: 'network' | 'config', Name: string) =>
    clock.settle(store.transact((tx) => tx.create(table, { id: Name, spec: { Name, Labels: {}, Data: '' } } as never)));
  const said = () => told.splice(0).join(', ');
  return { clock, loop, told, create, said };
}

test('looks at everything first, then runs for commits that matter to it', async () => {
  const { clock, loop, create, said } = setUp();
  loop.start();
  await clock.advance(0);
  expect(said()).toBe('mark all, run');
  await create('config', 'a');
  await clock.advance(0);
  expect(said()).toBe('record config');
  await create('network', 'b');
  await clock.advance(0);
  expect(said()).toBe('record network, run');
});

test('after a run that failed it looks at everything again, later', async () => {
  let fails = true;
  const { clock, loop, told, said } = setUp({
    run: async () => {
      told.push(fails ? 'fail' : 'run');
      if (fails) throw new Error('no quorum');
    },
  });
  loop.start();
  await clock.advance(499);
  expect(said()).toBe('mark all, fail');
  fails = false;
  await clock.advance(1);
  expect(said()).toBe('mark all, run');
});

test('stop waits for the run under way, and nothing comes after it: no commit, no retry', async () => {
  let fail: (error: Error) => void = () => {};
  const { clock, loop, told, create, said } = setUp({
    run: () => {
      told.push('begin');
      return new Promise((_, reject) => {
        fail = reject;
      });
    },
  });
  loop.start();
  await clock.advance(0);
  const stopped = loop.stop().then(() => told.push('stopped'));
  await create('network', 'a');
  expect(said()).toBe('mark all, begin');
  fail(new Error('no answer'));
  await clock.settle(stopped);
  await clock.settle(loop.stop());
  await clock.advance(10_000);
  expect(said()).toBe('stopped');
});
