import { describe, expect, test } from 'vitest';
import { between, fraction, type Random, seededRandom } from '../../../lib/random.ts';
import type { NetworkSet, NetworkState } from '../../../model/network.ts';
import { TaskState } from '../../../model/task-state.ts';
import { NetworkInbox } from '../../../worker/network-inbox.ts';
import type { Transaction } from '../../store/port.ts';
import { createStore, type MemoryStore } from '../../store/store.ts';
import { nodeDraft, taskDraft } from '../testing/cluster.ts';
import { difference, impliedState } from '../testing/implied.ts';
import { NetworkFeed } from './feed.ts';

const states = [TaskState.pending, TaskState.assigned, TaskState.starting, TaskState.running, TaskState.failed];
const connecting = ['n1', 'n2', 'n3', 'n4'];
const nodeStates = ['ready', 'down', 'unknown', 'disconnected'] as const;
const pick = <T>(random: Random, from: readonly T[]): T => from[between(random, 0, from.length - 1)] as T;

function memoryStore(): MemoryStore {
  let version = 1;
  const store: MemoryStore = createStore({
    proposer: {
      propose: async (changes, now) => ({
        version: ++version,
        applied: store.apply(version, store.encode(changes, now)),
      }),
    },
    now: () => 1,
  });
  return store;
}

/** Any change that managers and users could make, sensible or not. */
function change(tx: Transaction, random: Random): void {
  const nodeId = `n${between(random, 1, 6)}`;
  // A place is given for ever; only nodes that never connect here may lose theirs.
  const settled = connecting.includes(nodeId) ? tx.get('node', nodeId)?.network !== undefined : false;
  const networkId = `net${between(random, 1, 3)}`;
  const serviceId = `s${between(random, 1, 3)}`;
  const taskId = `${serviceId}-task-${between(random, 1, 6)}`;
  switch (between(random, 0, 9)) {
    case 0:
      return put(tx, 'node', nodeId, () => ({
        ...nodeDraft(nodeId),
        status: {
          state: pick(random, nodeStates),
          message: '',
          addr: pick(random, settled ? ['10.9.0.1', '10.9.0.2'] : ['', '10.9.0.1', '10.9.0.2']),
          since: 0,
        },
        ...(!settled && between(random, 0, 3) === 0
          ? {}
          : { network: { gatewaySubnet: `172.28.${nodeId.slice(1)}.0/24`, ingressAddress: '10.255.0.1' } }),
      }));
    case 1:
      return put(tx, 'network', networkId, () => ({
        id: networkId,
        spec: {
          Name: networkId,
          Labels: {},
          Driver: pick(random, ['', 'overlay', 'macvlan']),
          Internal: fraction(random) < 0.5,
        },
        ...(between(random, 0, 3) === 0 ? {} : { allocation: { vni: between(random, 4097, 4100), subnets: [] } }),
      }));
    case 2:
    case 3:
      return put(tx, 'service', serviceId, () => ({
        id: serviceId,
        spec: {
          Name: serviceId,
          Labels: {},
          TaskTemplate: {
            ContainerSpec: { Image: 'a' },
            Networks: fraction(random) < 0.5 ? [] : [{ Target: networkId, Aliases: ['db'] }],
          },
          Mode: { Replicated: { Replicas: 1 } },
        },
        specVersion: 1,
        endpoint: {
          specVersion: 1,
          vips:
            fraction(random) < 0.5 ? [] : [{ networkId: `net${between(random, 1, 3)}`, addresses: ['10.0.0.5/24'] }],
          ports: fraction(random) < 0.5 ? [] : [{ TargetPort: 80, PublishedPort: between(random, 8000, 8002) }],
        },
      }));
    default:
      return put(tx, 'task', taskId, () =>
        taskDraft(taskId, nodeId, {
          serviceId,
          serviceName: serviceId,
          desired: pick(random, [TaskState.running, TaskState.running, TaskState.shutdown]),
          status: { state: pick(random, states), timestamp: 0, message: '', err: '' },
          ...(fraction(random) < 0.3
            ? {}
            : {
                attachments: [
                  { networkId, addresses: ['10.0.0.6/24'] },
                  { networkId: 'net3', addresses: [] },
                ].slice(between(random, 0, 1)),
              }),
        }),
      );
  }

  function put<T extends 'node' | 'network' | 'service' | 'task'>(
    target: Transaction,
    table: T,
    id: string,
    draft: () => Parameters<typeof target.create<T>>[1],
  ): void {
    const exists = target.get(table, id) !== undefined;
    if (exists && !connecting.includes(id) && between(random, 0, 4) === 0) target.remove(table, id);
    else if (exists) target.update(table, draft());
    else target.create(table, draft());
  }
}

class Nodes {
  readonly #feed: NetworkFeed;
  readonly inboxes = new Map<string, NetworkInbox>();

  constructor(feed: NetworkFeed) {
    this.#feed = feed;
  }

  connect(nodeId: string): void {
    this.push();
    const inbox = this.inboxes.get(nodeId) ?? new NetworkInbox();
    inbox.reset();
    this.inboxes.set(nodeId, inbox);
    for (const set of this.#feed.register(nodeId)) this.#deliver(nodeId, set);
  }

  disconnect(nodeId: string): void {
    this.#feed.unregister(nodeId);
    this.inboxes.delete(nodeId);
  }

  push(): ReturnType<NetworkFeed['push']> {
    const push = this.#feed.push();
    for (const { nodeId, sets } of push.messages) for (const set of sets) this.#deliver(nodeId, set);
    return push;
  }

  state(nodeId: string): NetworkState {
    const state = this.inboxes.get(nodeId)?.state();
    if (state === undefined) throw new Error(`${nodeId} knows nothing`);
    return state;
  }

  #deliver(nodeId: string, set: NetworkSet): void {
    expect(this.inboxes.get(nodeId)?.add(structuredClone(set))).not.toBe('gap');
  }
}

describe('network feed', () => {
  test.each([1, 2, 3, 4])(
    'whatever happens, each connected node knows what the store implies, and is told of every withdrawal (seed %i)',
    async (seed) => {
      const random = seededRandom(seed);
      const store = memoryStore();
      for (let count = 0; count < 20; count++) await store.transact((tx) => change(tx, random));
      const feed = new NetworkFeed(store.view);
      feed.push();
      store.subscribe(({ events }) => events.forEach((event) => feed.mark(event)));
      const nodes = new Nodes(feed);
      for (let round = 0; round < 150; round++) {
        for (let count = between(random, 1, 4); count > 0; count--) await store.transact((tx) => change(tx, random));
        const nodeId = `n${between(random, 1, 4)}`;
        if (between(random, 0, 9) === 0) nodes.connect(nodeId);
        if (between(random, 0, 19) === 0) nodes.disconnect(nodeId);
        const before = new Map([...nodes.inboxes.keys()].map((id) => [id, activeIn(nodes.state(id))]));
        const { pulled, withdrawn, restored } = nodes.push();
        for (const id of nodes.inboxes.keys()) {
          expect(difference(impliedState(store.view, id), nodes.state(id))).toBeUndefined();
          const after = activeIn(nodes.state(id));
          const left = [...(before.get(id) ?? [])].filter((taskId) => !after.has(taskId));
          expect(
            pulled
              .filter((one) => one.nodeId === id)
              .flatMap((one) => one.taskIds)
              .toSorted(),
          ).toEqual(left.toSorted());
          for (const taskId of restored) expect(before.get(id)?.has(taskId)).toBe(false);
          for (const taskId of withdrawn) expect(after.has(taskId)).toBe(false);
        }
      }
    },
  );

  test('a task without networks and ports is no work at all', async () => {
    const store = memoryStore();
    await store.transact((tx) => tx.create('node', nodeDraft('n1')));
    const feed = new NetworkFeed(store.view);
    feed.push();
    let due = false;
    store.subscribe(({ events }) => events.forEach((event) => void (due ||= feed.mark(event))));
    await store.transact((tx) => tx.create('task', taskDraft('t1', 'n1')));
    await store.transact((tx) => tx.remove('task', 't1'));
    expect(due).toBe(false);
  });

  test('a large set is cut into parts, of which the last is complete', async () => {
    const store = memoryStore();
    const attachments = [{ networkId: 'net', addresses: ['10.0.0.6/24'] }];
    await store.transact((tx) => {
      tx.create('network', {
        id: 'net',
        spec: { Name: 'net', Labels: {}, Driver: 'overlay' },
        allocation: { vni: 5000, subnets: [] },
      });
      for (let at = 0; at < 4000; at++) tx.create('task', taskDraft(`t${at}`, 'n1', { slot: at + 1, attachments }));
    });
    const feed = new NetworkFeed(store.view);
    feed.push();
    const sets = feed.register('n1');
    expect(sets.length).toBeGreaterThan(2);
    expect(sets.map((set) => set.more ?? false)).toEqual(sets.map((_, at) => at < sets.length - 1));
    const inbox = new NetworkInbox();
    expect(sets.map((set) => inbox.add(set)).at(-1)).toBe('applied');
    expect(inbox.state()?.endpoints.size).toBe(4000);
  });
});

function activeIn(state: NetworkState): ReadonlySet<string> {
  return new Set([...state.endpoints.values()].filter(({ active }) => active).map(({ taskId }) => taskId));
}
