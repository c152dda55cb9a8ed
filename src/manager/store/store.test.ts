import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ClusterError } from '../../lib/errors.ts';
import type { Config, Node, Service, TableName, Task } from '../../model/objects.ts';
import { tableNames } from '../../model/objects.ts';
import type { TaskSpec } from '../../model/spec.ts';
import { TaskState } from '../../model/task-state.ts';
import type { Change, ClusterView } from '../../model/view.ts';
import type { CommitEvent, Draft, Proposer } from './port.ts';
import { createStore, MemoryStore } from './store.ts';

const seed = 20260;
const template = { ContainerSpec: { Image: 'nginx', Env: ['A=é'] }, Resources: {} };

function service(id: string, name: string, uses: { secrets?: string[]; configs?: string[] } = {}): Draft<'service'> {
  const ContainerSpec = {
    ...template.ContainerSpec,
    Secrets: (uses.secrets ?? []).map((SecretID) => ({ SecretID, SecretName: SecretID })),
    Configs: (uses.configs ?? []).map((ConfigID) => ({ ConfigID, ConfigName: ConfigID })),
  };
  return {
    id,
    spec: { Name: name, Labels: {}, TaskTemplate: { ...template, ContainerSpec }, Mode: {} },
    specVersion: 1,
  };
}

function task(id: string, at: { serviceId?: string; slot?: number; nodeId?: string } = {}): Draft<'task'> {
  return {
    id,
    serviceId: at.serviceId ?? 's1',
    slot: at.slot ?? 1,
    nodeId: at.nodeId ?? '',
    spec: structuredClone(template),
    specVersion: 1,
    serviceName: 'web',
    serviceLabels: {},
    endpoint: {},
    desired: TaskState.running,
    status: { state: TaskState.new, timestamp: 1, message: 'created', err: '' },
    restarts: [],
  };
}

function node(id: string, hostname: string): Draft<'node'> {
  return {
    id,
    spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    role: 'worker',
    description: {
      hostname,
      platform: { architecture: 'x86_64', os: 'linux' },
      resources: {},
      engine: { version: '1', labels: {}, plugins: [] },
    },
    status: { state: 'ready', message: '', addr: '10.0.0.1', since: 1 },
  };
}

function config(id: string, name: string): Draft<'config'> {
  return { id, spec: { Name: name, Labels: {}, Data: 'YQ==' } };
}

function local(): MemoryStore {
  let time = 1000;
  return createStore({ proposer: null, now: () => (time += 1) });
}

/** A proposer whose entries are applied only when the test says so, in the order in which they were proposed. */
function held(store: MemoryStore) {
  const waiting: (() => void)[] = [];
  let version = 100;
  const proposer: Proposer & { entries: Change[][]; release(): void; waiting(): number } = {
    entries: [],
    propose(changes, now) {
      const bytes = store.encode(changes, now);
      proposer.entries.push([...changes]);
      return new Promise((resolve) => {
        waiting.push(() => resolve({ version: ++version, applied: store.apply(version, bytes) }));
      });
    },
    release: () => waiting.shift()?.(),
    waiting: () => waiting.length,
  };
  store.setProposer(proposer);
  return proposer;
}

/** Releases held entries, one per turn, until `work` is done. */
async function pump<T>(proposer: { release(): void }, work: Promise<T>): Promise<T> {
  let settled = false;
  const mark = () => {
    settled = true;
  };
  work.then(mark, mark);
  for (let turn = 0; turn < 10_000 && !settled; turn++) {
    proposer.release();
    await Promise.resolve();
  }
  return work;
}

function dump(view: ClusterView): unknown {
  return tableNames.map((table) => [...view.list(table)]);
}

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

describe('transact', () => {
  test('stamps version and times, and freezes what it stores', async () => {
    const store = local();
    await store.transact((tx) => tx.create('service', service('s1', 'web')));
    await store.transact((tx) => {
      const before = tx.get('service', 's1');
      if (before !== undefined) tx.update('service', { ...before, specVersion: 2 });
    });
    const found = store.view.get('service', 's1');
    expect(found?.meta).toEqual({ version: 2, createdAt: 1001, updatedAt: 1002, specIndex: 1 });
    expect(Object.isFrozen(found?.spec.TaskTemplate.ContainerSpec.Env)).toBe(true);
  });

  test('remembers when the spec of a service was last written, however often the rest is; also after a snapshot', async () => {
    const store = local();
    const write = (more: Partial<Service>) =>
      store.transact((tx) => tx.update('service', { ...(tx.get('service', 's1') ?? expect.fail()), ...more }));
    const seen = () => {
      const { version = 0, specIndex = version } = store.view.get('service', 's1')?.meta ?? {};
      return [version, specIndex];
    };
    await store.transact((tx) => tx.create('service', service('s1', 'web')));
    expect(seen()).toEqual([1, 1]);
    await write({ specVersion: 2 });
    await write({ specVersion: 3 });
    expect(seen()).toEqual([3, 1]);
    await write({ spec: service('s1', 'web').spec });
    expect(seen()).toEqual([4, 4]);
    await write({ specVersion: 4 });
    const bytes = await bytesOf(store.snapshot());
    const other = local();
    await other.restore(inPieces(bytes, 1000));
    expect(other.view.get('service', 's1')?.meta).toEqual(store.view.get('service', 's1')?.meta);
    expect(seen()).toEqual([5, 4]);
  });

  test('reads its own writes through every index and leaves the committed state alone', async () => {
    const store = local();
    await store.transact((tx) => tx.create('task', task('t1', { nodeId: 'n1' })));
    const outcome = await store
      .transact((tx) => {
        tx.create('service', service('s1', 'Web', { secrets: ['x'] }));
        tx.create('task', task('t2', { nodeId: 'n1' }));
        const first = tx.get('task', 't1');
        if (first !== undefined) tx.update('task', { ...first, nodeId: 'n2' });
        const seen = {
          name: tx.serviceByName('WEB')?.id,
          secret: [...tx.servicesUsingSecret('x')].map((one) => one.id),
          n1: [...tx.tasksOfNode('n1')].map((one) => one.id),
          n2: [...tx.tasksOfNode('n2')].map((one) => one.id),
          slot: tx.tasksOfSlot('s1', 1).map((one) => one.id),
          list: [...tx.list('task')].map((one) => one.nodeId),
          prefix: tx.idsByPrefix('task', 't', 5),
          count: tx.count('task'),
        };
        tx.remove('task', 't1');
        throw Object.assign(new Error('abandoned'), { seen: { ...seen, left: tx.count('task') } });
      })
      .catch((error: unknown) => (error as { seen: unknown }).seen);
    expect(outcome).toEqual({
      name: 's1',
      secret: ['s1'],
      n1: ['t2'],
      n2: ['t1'],
      slot: ['t1', 't2'],
      list: ['n2', 'n1'],
      prefix: ['t2', 't1'],
      count: 2,
      left: 1,
    });
    expect(store.view.count('task')).toBe(1);
    expect(store.view.serviceByName('web')).toBeUndefined();
  });

  test('runs again on the new state when another write got there first', async () => {
    const store = local();
    await store.transact((tx) => tx.create('task', task('t1')));
    const proposer = held(store);
    const add = (at: number) =>
      store.transact((tx) => {
        const before = tx.get('task', 't1');
        if (before !== undefined) tx.update('task', { ...before, restarts: [...before.restarts, at] });
      });
    const both = Promise.all([add(1), add(2)]);
    expect(proposer.waiting()).toBe(2);
    proposer.release();
    proposer.release();
    await pump(proposer, both);
    expect(store.view.get('task', 't1')?.restarts).toEqual([1, 2]);
    expect(proposer.entries.length).toBe(3);
  });

  test('all come through when very many change the same object at once, or are refused for themselves', async () => {
    const store = local();
    await store.transact((tx) => tx.create('task', task('t1')));
    const proposer = held(store);
    const add = (at: number) =>
      store.transact((tx) => {
        const before = tx.get('task', 't1');
        if (before === undefined) return;
        if (at % 10 === 7 && before.restarts.length > 0) throw new ClusterError('invalid', 'too late');
        tx.update('task', { ...before, restarts: [...before.restarts, at] });
      });
    const all = Promise.allSettled(Array.from({ length: 100 }, (_, at) => add(at)));
    const results = await pump(proposer, all);
    expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(10);
    expect(store.view.get('task', 't1')?.restarts).toEqual(
      Array.from({ length: 100 }, (_, at) => at).filter((at) => at % 10 !== 7),
    );
  });

  test('F28: gives up with Docker’s words when it loses again and again', async () => {
    const store = createStore({ proposer: { propose: async () => ({ version: 1, applied: false }) }, now: () => 1 });
    await expect(store.transact((tx) => tx.create('task', task('t1')))).rejects.toMatchObject({
      kind: 'conflict',
      message: 'update out of sequence',
    });
  });

  test('proposes nothing without changes, and nothing for what cancels out', async () => {
    const store = createStore({ proposer: { propose: () => Promise.reject(new Error('proposed')) }, now: () => 1 });
    expect(await store.transact((tx) => tx.count('task'))).toBe(0);
    await store.transact((tx) => {
      tx.create('task', task('t1'));
      tx.remove('task', 't1');
      tx.remove('task', 'never-there');
    });
  });

  test('refuses a taken name and an object that is not there', async () => {
    const store = local();
    await store.transact((tx) => tx.create('config', config('c1', 'Site')));
    const taken = store.transact((tx) => tx.create('config', config('c2', 'sITE')));
    await expect(taken).rejects.toMatchObject({ kind: 'already_exists' });
    await expect(store.transact((tx) => tx.update('config', config('c3', 'x')))).rejects.toMatchObject({
      kind: 'not_found',
    });
  });

  test('lets names change hands within one transaction', async () => {
    const store = local();
    await store.transact((tx) => {
      tx.create('config', config('c1', 'a'));
      tx.create('config', config('c2', 'b'));
    });
    await store.transact((tx) => {
      tx.remove('config', 'c1');
      tx.update('config', config('c2', 'a'));
      tx.create('config', config('c3', 'b'));
    });
    expect([store.view.configByName('a')?.id, store.view.configByName('b')?.id]).toEqual(['c2', 'c3']);
  });

  test('F26: refuses a transaction that is too large for an entry, and applies nothing of it', async () => {
    const big = { ...config('c1', 'a'), spec: { Name: 'a', Labels: {}, Data: 'x'.repeat(1_600_000) } };
    const store = local();
    const refused = store.transact((tx) => {
      tx.create('config', config('c0', 'small'));
      tx.create('config', big);
    });
    await expect(refused).rejects.toMatchObject({ kind: 'invalid', message: expect.stringContaining('too large') });
    expect([store.view.count('config'), store.view.version]).toEqual([0, 0]);
  });
});

describe('apply', () => {
  test('F28: refuses a stale change together with everything else in its entry', () => {
    const store = local();
    const make = (id: string): Change => ({ table: 'task', action: 'create', id, expected: 0, object: task(id) });
    expect(store.apply(5, { now: 1, changes: [make('t1'), make('t2')] })).toBe(true);
    const before = dump(store.view);
    const stale: Change = { table: 'task', action: 'remove', id: 't1', expected: 4 };
    expect(store.apply(6, { now: 2, changes: [make('t3'), stale] })).toBe(false);
    expect(store.apply(7, { now: 2, changes: [make('t3'), make('t3')] })).toBe(false);
    expect(store.apply(8, { now: 2, changes: [make('t2')] })).toBe(false);
    expect(dump(store.view)).toEqual(before);
    expect(store.view.version).toBe(5);
  });

  test('two that make a task in the same place at the same moment: the second sees the first and is built again', async () => {
    const store = local();
    const proposer = held(store);
    const fill = (id: string, at: Partial<Draft<'task'>>) =>
      store.transact((tx) => {
        const { slot, nodeId, pinned } = { ...task(id), ...at };
        const isHere = (one: Task) => (pinned === true ? one.nodeId === nodeId : one.slot === slot);
        if ([...tx.tasksOfService('s1')].some(isHere)) return;
        tx.create('task', { ...task(id), ...at });
      });
    const onNode = { slot: 0, nodeId: 'n1', pinned: true } as const;
    const all = [fill('a', {}), fill('b', {}), fill('c', { slot: 2 }), fill('d', onNode), fill('e', onNode)];
    expect(proposer.waiting()).toBe(5);
    await pump(proposer, Promise.all(all));
    expect([...store.view.list('task')].map((one) => one.id)).toEqual(['a', 'c', 'd']);
  });

  test('refuses two equal names within one entry', () => {
    const store = local();
    const make = (id: string, name: string): Change => ({
      table: 'config',
      action: 'create',
      id,
      expected: 0,
      object: config(id, name),
    });
    expect(store.apply(1, { now: 1, changes: [make('c1', 'a'), make('c2', 'A')] })).toBe(false);
    expect(store.apply(2, { now: 1, changes: [make('c1', 'a')] })).toBe(true);
    expect(store.apply(3, { now: 1, changes: [make('c2', 'A')] })).toBe(false);
    expect(store.view.count('config')).toBe(1);
  });

  test('a name passes on whether it is taken over before or after it is given up', () => {
    for (const backwards of [false, true]) {
      const store = local();
      const make = (id: string, name: string): Change => ({
        table: 'config',
        action: 'create',
        id,
        expected: 0,
        object: config(id, name),
      });
      store.apply(1, { now: 1, changes: [make('c1', 'a'), make('c2', 'b')] });
      const changes: Change[] = [
        { table: 'config', action: 'update', id: 'c2', expected: 1, object: config('c2', 'a') },
        { table: 'config', action: 'update', id: 'c1', expected: 1, object: config('c1', 'b') },
      ];
      expect(store.apply(2, { now: 1, changes: backwards ? changes.reverse() : changes })).toBe(true);
      expect([store.view.configByName('a')?.id, store.view.configByName('b')?.id]).toEqual(['c2', 'c1']);
    }
  });

  test('tells subscribers before and after, and stops telling when asked', async () => {
    const store = local();
    const seen: CommitEvent[] = [];
    const stop = store.subscribe((commit) => seen.push(commit));
    await store.transact((tx) => tx.create('task', task('t1')));
    await store.transact((tx) => tx.remove('task', 't1'));
    stop();
    await store.transact((tx) => tx.create('task', task('t1')));
    expect(seen.map(({ version, events }) => [version, events.map((e) => [e.before?.id, e.after?.id])])).toEqual([
      [1, [[undefined, 't1']]],
      [2, [['t1', undefined]]],
    ]);
  });

  test('throws on bytes it cannot read, and changes nothing', () => {
    const store = local();
    const good = store.encode([{ table: 'task', action: 'create', id: 't1', expected: 0, object: task('t1') }], 1);
    expect(() => store.apply(1, Buffer.from(Buffer.from(good).toString().replace('"v":1', '"v":9')))).toThrow(
      /version 9/,
    );
    fc.assert(
      fc.property(fc.nat({ max: good.length - 1 }), (length) => {
        expect(() => store.apply(1, good.subarray(0, length))).toThrow();
        expect(store.view.count('task')).toBe(0);
      }),
      { seed },
    );
  });

  test('keeps fields it does not know', async () => {
    const store = local();
    await store.transact((tx) => tx.create('task', { ...task('t1'), later: { deep: [1] } } as Draft<'task'>));
    const copy = local();
    await copy.restore(store.snapshot());
    expect(copy.view.get('task', 't1')).toMatchObject({ later: { deep: [1] } });
  });

  test('drops optional fields that an update leaves out', async () => {
    const store = local();
    await store.transact((tx) => tx.create('task', { ...task('t1'), notBefore: 5 }));
    await store.transact((tx) => tx.update('task', task('t1')));
    expect(Object.hasOwn(store.view.get('task', 't1') ?? {}, 'notBefore')).toBe(false);
  });
});

describe('sharing', () => {
  test('equal specs of tasks are one object, within an entry, across entries and after a snapshot', async () => {
    const store = local();
    await store.transact((tx) => ['t1', 't2'].forEach((id) => tx.create('task', task(id))));
    await store.transact((tx) => tx.create('task', task('t3')));
    const copy = local();
    await copy.restore(store.snapshot());
    for (const view of [store.view, copy.view]) {
      const specs = new Set([...view.list('task')].map((one) => one.spec));
      expect(specs.size).toBe(1);
    }
  });

  test('a status update does not carry the spec again', async () => {
    const store = local();
    await store.transact((tx) => tx.create('task', task('t1')));
    const before = store.view.get('task', 't1') as Task;
    const object = { ...before, status: { ...before.status, state: TaskState.running } };
    const bytes = store.encode([{ table: 'task', action: 'update', id: 't1', expected: 1, object }], 9);
    expect(Buffer.from(bytes).toString()).not.toContain('nginx');
    store.apply(2, bytes);
    expect(store.view.get('task', 't1')).toEqual({ ...object, meta: { version: 2, createdAt: 1001, updatedAt: 9 } });
  });
});

describe('batch', () => {
  test('F27: packs at most 200 changes into an entry and keeps four entries under way', async () => {
    const store = local();
    const proposer = held(store);
    const items = Array.from({ length: 1050 }, (_, at) => `t${at}`);
    const done = store.batch(items, (tx, id) => tx.create('task', task(id, { slot: Number(id.slice(1)) })));
    await Promise.resolve();
    expect(proposer.waiting()).toBe(4);
    expect(await pump(proposer, done)).toEqual({ refused: 0 });
    expect(proposer.entries.map((changes) => changes.length)).toEqual([200, 200, 200, 200, 200, 50]);
    expect([...store.view.list('task')].map((one) => one.id)).toEqual(items);
  });

  test('cuts entries by size', async () => {
    const store = local();
    const sizes: number[] = [];
    store.subscribe((commit) => sizes.push(commit.events.length));
    const Data = 'x'.repeat(300_000);
    const items = Array.from({ length: 8 }, (_, at) => `c${at}`);
    await store.batch(items, (tx, id) => tx.create('config', { id, spec: { Name: id, Labels: {}, Data } }));
    expect(sizes).toEqual([3, 3, 2]);
  });

  test('retries alone what conflicted, and refuses only the item that cannot be', async () => {
    const store = local();
    await store.transact((tx) => ['t1', 't2', 't3'].forEach((id) => tx.create('task', task(id))));
    const proposer = held(store);
    const move = store.batch(['t1', 't2', 't3', 'missing'], (tx, id) => {
      const before = tx.get('task', id);
      if (before === undefined) throw new ClusterError('not_found', `task ${id} not found`);
      tx.update('task', { ...before, nodeId: 'n1' });
    });
    store.apply(50, { now: 1, changes: [{ table: 'task', action: 'remove', id: 't2', expected: 1 }] });
    expect(await pump(proposer, move)).toEqual({ refused: 2 });
    expect([...store.view.tasksOfNode('n1')].map((one) => one.id)).toEqual(['t1', 't3']);
  });

  test('passes on a proposer that is away, after nothing is under way any more', async () => {
    const away = new ClusterError('unavailable', 'no leader');
    const store = createStore({ proposer: { propose: () => Promise.reject(away) }, now: () => 1 });
    await expect(store.batch(['t1'], (tx, id) => tx.create('task', task(id)))).rejects.toBe(away);
  });

  test('an item that throws leaves the writes of earlier items to the same object alone', async () => {
    const store = local();
    await store.transact((tx) => tx.create('task', task('t1')));
    await store.batch([1, 2, 3], (tx, at) => {
      const before = tx.get('task', 't1');
      if (before !== undefined) tx.update('task', { ...before, restarts: [...before.restarts, at] });
      if (at === 2) throw new ClusterError('invalid', 'no 2');
    });
    expect(store.view.get('task', 't1')?.restarts).toEqual([1, 3]);
  });

  test('takes back the writes of an item that throws', async () => {
    const store = local();
    const outcome = await store.batch(['a', 'b', 'c'], (tx, id) => {
      tx.create('task', task(id));
      if (id === 'b') throw new ClusterError('invalid', 'no b');
    });
    expect(outcome).toEqual({ refused: 1 });
    expect([...store.view.list('task')].map((one) => one.id)).toEqual(['a', 'c']);
  });
});

describe('snapshot', () => {
  test('shows the state at capture, however late it is read', async () => {
    const store = local();
    await store.transact((tx) => tx.create('task', task('t1')));
    const snapshot = store.snapshot({ members: [1] });
    await store.transact((tx) => tx.create('task', task('t2')));
    const copy = local();
    expect(await copy.restore(snapshot)).toEqual({ members: [1] });
    expect([copy.view.count('task'), copy.view.version]).toEqual([1, 1]);
  });

  test('tells the difference on restore', async () => {
    const store = local();
    await store.transact((tx) => ['t1', 't2', 't3'].forEach((id) => tx.create('task', task(id))));
    const copy = local();
    await copy.restore(store.snapshot());
    await store.transact((tx) => {
      tx.remove('task', 't1');
      tx.update('task', task('t2', { nodeId: 'n1' }));
      tx.create('task', task('t4'));
    });
    const seen: [string | undefined, string | undefined][] = [];
    copy.subscribe(({ events }) => seen.push(...events.map((e): (typeof seen)[0] => [e.before?.id, e.after?.id])));
    await copy.restore(store.snapshot());
    expect(seen).toEqual([
      ['t2', 't2'],
      [undefined, 't4'],
      ['t1', undefined],
    ]);
  });

  test('F20: refuses a damaged or cut snapshot and keeps the old state', async () => {
    const store = local();
    await store.transact((tx) => ['t1', 't2'].forEach((id) => tx.create('task', task(id))));
    const bytes = await bytesOf(store.snapshot());
    const copy = local();
    await copy.transact((tx) => tx.create('task', task('old')));
    for (let length = 0; length < bytes.length; length += 7) {
      await expect(copy.restore(inPieces(bytes.subarray(0, length), 64))).rejects.toThrow();
    }
    const lines = bytes.toString().split('\n');
    const holed = lines.filter((line) => !line.startsWith('O') || !line.includes('t1')).join('\n');
    await expect(copy.restore(inPieces(Buffer.from(holed), 64))).rejects.toThrow(/missing objects/);
    expect([...copy.view.list('task')].map((one) => one.id)).toEqual(['old']);
  });
});

/** Random writes, some of them stale or with taken names, as entries of one log. */
const ids = ['a1', 'a2', 'ab', 'b1', 'b2', 'c'];
const names = ['One', 'one', 'two', 'THREE'];
const operation = fc.record({
  table: fc.constantFrom<TableName>('task', 'service', 'config', 'node'),
  action: fc.constantFrom('create', 'update', 'remove'),
  id: fc.constantFrom(...ids),
  name: fc.constantFrom(...names),
  pick: fc.nat({ max: 3 }),
  stale: fc.boolean(),
});
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

function changeOf(view: ClusterView, { table, action, id, name, pick, stale }: Operation): Change {
  const known = view.get(table, id)?.meta.version ?? 0;
  const expected = stale && pick === 0 ? known + 1 : known;
  const draft = {
    task: () =>
      onNetwork(pick, task(id, { serviceId: `s${pick % 2}`, slot: pick, nodeId: pick === 1 ? '' : `n${pick}` })),
    service: () => {
      const made = service(id, name, { secrets: [`x${pick}`, `x${pick % 2}`], configs: pick > 1 ? ['k'] : [] });
      return { ...made, spec: { ...made.spec, TaskTemplate: onNetwork(pick, { spec: made.spec.TaskTemplate }).spec } };
    },
    config: () => config(id, name),
    node: () => node(id, name),
  }[table as 'task']();
  const kind = action !== 'remove' && !stale ? (known === 0 ? 'create' : 'update') : action;
  return { table, action: kind, id, expected, object: draft } as Change;
}

function onNetwork<T extends { readonly spec: TaskSpec }>(pick: number, made: T): T {
  const Networks = [{ Target: 'host' }, { Target: `net${pick}` }].slice(0, 1 + (pick % 3));
  return { ...made, spec: { ...made.spec, Networks } };
}

function naive(view: ClusterView) {
  const tasks = [...view.list('task')];
  const services = [...view.list('service')];
  const sorted = (found: Iterable<{ id: string }>) => [...found].map((one) => one.id).sort();
  const uses = (list: readonly { SecretID?: string; ConfigID?: string }[] | undefined, id: string) =>
    list?.some((one) => one.SecretID === id || one.ConfigID === id) ?? false;
  for (const at of [0, 1, 2, 3]) {
    expect(sorted(view.tasksOfNode(`n${at}`))).toEqual(sorted(tasks.filter((one) => one.nodeId === `n${at}`)));
    expect(sorted(view.tasksOfService(`s${at}`))).toEqual(sorted(tasks.filter((one) => one.serviceId === `s${at}`)));
    const inSlot = (one: Task) => one.serviceId === 's1' && one.slot === at;
    expect(sorted(view.tasksOfSlot('s1', at))).toEqual(sorted(tasks.filter(inSlot)));
    const using = (one: Service) => uses(one.spec.TaskTemplate.ContainerSpec.Secrets, `x${at}`);
    expect(sorted(view.servicesUsingSecret(`x${at}`))).toEqual(sorted(services.filter(using)));
  }
  for (const at of [0, 1, 2, 3]) {
    const on = (one: TaskSpec) => one.Networks?.some(({ Target }) => Target === `net${at}`) ?? false;
    expect(sorted(view.tasksUsingNetwork(`net${at}`))).toEqual(sorted(tasks.filter((one) => on(one.spec))));
    const attached = services.filter((one) => on(one.spec.TaskTemplate));
    expect(sorted(view.servicesUsingNetwork(`net${at}`))).toEqual(sorted(attached));
  }
  expect([...view.tasksUsingNetwork('host'), ...view.servicesUsingNetwork('host')]).toEqual([]);
  const usingConfig = (one: Service) => uses(one.spec.TaskTemplate.ContainerSpec.Configs, 'k');
  expect(sorted(view.servicesUsingConfig('k'))).toEqual(sorted(services.filter(usingConfig)));
  for (const name of names) {
    const same = (one: Service | Config) => one.spec.Name.toLowerCase() === name.toLowerCase();
    expect(view.serviceByName(name)).toBe(services.find(same));
    expect(view.configByName(name)).toBe([...view.list('config')].find(same));
    const hosts = [...view.list('node')].filter((one: Node) => one.description?.hostname === name);
    expect(sorted(view.nodesByHostname(name))).toEqual(sorted(hosts));
  }
  for (const prefix of ['', 'a', 'ab', 'abc', 'b2', 'c']) {
    const matching = tasks.filter((one) => one.id.startsWith(prefix));
    expect([...view.idsByPrefix('task', prefix, 99)].sort()).toEqual(sorted(matching));
    expect(view.idsByPrefix('task', prefix, 1).length).toBe(Math.min(1, matching.length));
  }
}

describe('properties', () => {
  const log = fc.array(fc.array(operation, { minLength: 1, maxLength: 4 }), { maxLength: 40 });

  test('replicas that apply the same entries are identical, also through a snapshot in the middle, and indexes are right', async () => {
    const verdicts = new Set<boolean>();
    await fc.assert(
      fc.asyncProperty(log, fc.nat({ max: 40 }), fc.integer({ min: 1, max: 999 }), async (entries, cut, piece) => {
        const [leader, follower] = [local(), local()];
        let late = local();
        for (const [at, operations] of entries.entries()) {
          if (at === cut) {
            late = local();
            await late.restore(inPieces(await bytesOf(follower.snapshot()), piece));
          }
          const bytes = leader.encode(
            operations.map((one) => changeOf(leader.view, one)),
            at,
          );
          const applied = [leader, follower, late].map((store) => store.apply(at + 1, bytes));
          expect(new Set(applied).size).toBe(1);
          verdicts.add(applied[0] ?? false);
        }
        expect(dump(follower.view)).toEqual(dump(leader.view));
        expect((await bytesOf(late.snapshot())).equals(await bytesOf(leader.snapshot()))).toBe(true);
        [leader, late].forEach((store) => naive(store.view));
      }),
      { seed, numRuns: 150 },
    );
    expect(verdicts).toEqual(new Set([true, false]));
  });

  test('a refused entry leaves no trace', () => {
    fc.assert(
      fc.property(log, (entries) => {
        const store = local();
        for (const [at, operations] of entries.entries()) {
          const before = dump(store.view);
          const changes = operations.map((one) => changeOf(store.view, one));
          if (!store.apply(at + 1, { changes, now: at })) expect(dump(store.view)).toEqual(before);
        }
        naive(store.view);
      }),
      { seed, numRuns: 100 },
    );
  });

  test('a transaction reads what it would read after its commit', async () => {
    await fc.assert(
      fc.asyncProperty(log, fc.array(operation, { maxLength: 8 }), async (entries, operations) => {
        const store = local();
        for (const [at, some] of entries.entries()) {
          store.apply(at + 1, { changes: some.map((one) => changeOf(store.view, one)), now: at });
        }
        await store.transact((tx) => {
          for (const one of operations) {
            const { table, action, id, object } = changeOf(tx, { ...one, stale: false });
            try {
              if (action === 'remove') tx.remove(table, id);
              else if (tx.get(table, id) === undefined) tx.create(table, object as Draft<'task'>);
              else tx.update(table, object as Draft<'task'>);
            } catch (error) {
              expect(error).toMatchObject({ kind: 'already_exists' });
            }
          }
          naive(tx);
          expect(tableNames.map((table) => tx.count(table))).toEqual(
            tableNames.map((table) => [...tx.list(table)].length),
          );
        });
        naive(store.view);
      }),
      { seed, numRuns: 150 },
    );
  });
});
