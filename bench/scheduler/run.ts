/** One measurement: from writing the tasks to having seen them all assigned, store transactions included, without Raft. */
import { silentLog } from '../../src/lib/log.ts';
import { realClock } from '../../src/lib/real.ts';
import { createPlacement } from '../../src/manager/placement/index.ts';
import type { Draft } from '../../src/manager/store/port.ts';
import { createStore, type MemoryStore } from '../../src/manager/store/store.ts';
import { TaskState } from '../../src/model/task-state.ts';
import type { Case } from './cases.ts';

export async function measure(one: Case): Promise<number> {
  const store = createStore({ proposer: null, now: () => realClock.now(), defer: (run) => realClock.defer(run) });
  await store.batch(numbers(one.nodes), (tx, at) => tx.create('node', node(at)));
  const placement = createPlacement({ store, clock: realClock, log: silentLog });
  placement.start();
  await nextTurn();
  globalThis.gc?.();
  const begun = realClock.monotonic();
  const assigned = allAssigned(store, one.tasks);
  await store.batch(numbers(one.tasks), (tx, at) => tx.create('task', task(one, at)));
  await assigned;
  const tookMs = realClock.monotonic() - begun;
  await placement.stop();
  return tookMs;
}

function allAssigned(store: MemoryStore, count: number): Promise<void> {
  return new Promise((resolve) => {
    let seen = 0;
    store.subscribe(({ events }) => {
      for (const event of events)
        if (event.table === 'task' && event.before?.nodeId === '' && event.after?.nodeId !== '') seen += 1;
      if (seen >= count) resolve();
    });
  });
}

function node(at: number): Draft<'node'> {
  return {
    id: `node${String(at).padStart(8, '0')}`,
    spec: { Labels: at % 3 === 0 ? { bench: 'yes' } : {}, Role: 'worker', Availability: 'active' },
    role: 'worker',
    description: {
      hostname: `host${at}`,
      platform: { architecture: 'x86_64', os: 'linux' },
      resources: { NanoCPUs: 64e9, MemoryBytes: 256 * 2 ** 30 },
      engine: { version: '1', labels: {}, plugins: [] },
    },
    status: { state: 'ready', message: '', addr: '10.0.0.1', since: 0 },
  };
}

const spec = { ContainerSpec: { Image: 'nginx:1' } };
const constrainedSpec = { ...spec, Placement: { Constraints: ['node.labels.bench == yes'] } };
const labels = {};
const endpoint = {};

function task({ constrained, path }: Case, at: number): Draft<'task'> {
  return {
    id: `task${String(at).padStart(21, '0')}`,
    serviceId: path === 'group' ? 'service' : `service${at}`,
    slot: at + 1,
    nodeId: '',
    spec: constrained ? constrainedSpec : spec,
    specVersion: 1,
    serviceName: 'bench',
    serviceLabels: labels,
    endpoint,
    desired: TaskState.running,
    status: { state: TaskState.pending, timestamp: 0, message: 'pending task scheduling', err: '' },
    restarts: [],
  };
}

function numbers(count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => at);
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => realClock.defer(resolve));
}
