import { expect, test } from 'vitest';
import { ClusterError } from '../lib/errors.ts';
import { silentLog } from '../lib/log.ts';
import { seededRandom } from '../lib/random.ts';
import { VirtualClock } from '../lib/testing/virtual-clock.ts';
import type { Dialer, Peer } from '../rpc/port.ts';
import { newNode } from './ca/ca.ts';
import type { Consensus, Leader } from './consensus.ts';
import { Manager } from './manager.ts';
import { createStore } from './store/store.ts';

const self = { nodeId: 'm1', addr: 'm1:2377' };
const other = { nodeId: 'm2', addr: 'm2:2377' };

function setUp(call: () => Promise<unknown> = () => Promise.reject(new ClusterError('unavailable', 'no'))) {
  const clock = new VirtualClock();
  const random = seededRandom(1);
  const store = createStore({ proposer: null, now: () => clock.now() });
  let leader: Leader | undefined;
  let barriers = 0;
  let dials = 0;
  let onAdd: () => Promise<unknown> = async () => {};
  const removed: string[] = [];
  const handlers = new Set<(isLeader: boolean, leader: Leader | undefined) => void>();
  const consensus: Consensus = {
    isLeader: () => leader === self,
    leader: () => leader,
    onLeadership: (handle) => {
      handlers.add(handle);
      return () => handlers.delete(handle);
    },
    readBarrier: async () => {
      barriers += 1;
    },
    waitApplied: async () => {},
    members: () => [],
    addMember: async () => {
      await onAdd();
      return { raftId: 2 };
    },
    removeMember: async (id) => void removed.push(id),
    transferLeadership: async () => {},
  };
  const dialer: Dialer = {
    dial: () => {
      dials += 1;
      return { call, close: () => {} } as unknown as Peer;
    },
  };
  const manager = new Manager({ nodeId: 'm1', store, consensus, dialer, clock, random, log: silentLog });
  const lead = (now: Leader | undefined) => {
    leader = now;
    for (const handle of handlers) handle(now === self, now);
  };
  manager.start();
  const whileAdding = (work: () => Promise<unknown>) => {
    onAdd = work;
  };
  return { manager, store, clock, lead, removed, whileAdding, barriers: () => barriers, dials: () => dials };
}

test('leadership that is lost and won again at once begins anew: the time between was another one’s', async () => {
  const { manager, clock, lead, barriers } = setUp();
  lead(self);
  await clock.advance(10);
  expect(barriers()).toBe(1);
  lead(undefined);
  lead(self);
  await clock.advance(10);
  expect(barriers()).toBe(2);
  await manager.stop();
});

test('a kept connection whose certificate ran out is made anew, and the call goes through', async () => {
  let answers: (() => Promise<unknown>)[] = [];
  const { manager, clock, lead, dials } = setUp(() => (answers.shift() ?? (() => Promise.resolve(undefined)))());
  lead(other);
  const good = () => Promise.resolve({ response: {}, version: 1 });
  const expired = () => Promise.reject(new ClusterError('unauthenticated', 'a certificate of this cluster is needed'));
  answers = [good, expired, good];
  await clock.settle(manager.backend.call('secret.remove', { id: 'a' }));
  await clock.settle(manager.backend.call('secret.remove', { id: 'b' }));
  expect(dials()).toBe(2);
  answers = [expired, expired];
  await expect(clock.settle(manager.backend.call('secret.remove', { id: 'c' }))).rejects.toMatchObject({
    kind: 'unauthenticated',
  });
  await manager.stop();
});

test('a node whose joining failed takes its entry back; one that has registered cannot', async () => {
  const { manager, store, clock, lead } = setUp();
  await store.transact((tx) => {
    tx.create('node', newNode('m2', 'worker', 'active', 0));
    const description = {
      hostname: 'h',
      platform: { architecture: '', os: '' },
      resources: {},
      engine: { version: '', labels: {}, plugins: [] },
    };
    tx.create('node', { ...newNode('m3', 'worker', 'active', 0), description });
  });
  lead(other);
  const caller = (nodeId: string) => ({ nodeId, role: 'worker', clusterId: 'c' }) as const;
  expect(await clock.settle(manager.service.withdraw(caller('m2')))).toEqual({ redirect: other.addr });
  lead(self);
  await clock.advance(10);
  expect(await clock.settle(manager.service.withdraw(caller('m2')))).toEqual({});
  expect(store.view.get('node', 'm2')).toBeUndefined();
  await expect(clock.settle(manager.service.withdraw(caller('m3')))).rejects.toMatchObject({
    kind: 'failed_precondition',
  });
  await manager.stop();
});

test('a node that is demoted while it joins the group is taken out of it, and is no manager in the store', async () => {
  const { manager, store, clock, lead, removed, whileAdding } = setUp();
  await store.transact((tx) => tx.create('node', newNode('m2', 'manager', 'active', 0)));
  lead(self);
  await clock.advance(10);
  whileAdding(() =>
    store.transact((tx) => {
      const node = tx.get('node', 'm2');
      if (node !== undefined) tx.update('node', { ...node, role: 'worker', spec: { ...node.spec, Role: 'worker' } });
    }),
  );
  const caller = { nodeId: 'm2', role: 'manager', clusterId: 'c' } as const;
  await expect(clock.settle(manager.service.joinRaft({ addr: 'm2:2377' }, caller))).rejects.toMatchObject({
    kind: 'permission_denied',
  });
  expect(removed).toEqual(['m2']);
  expect(store.view.get('node', 'm2')?.manager).toBeUndefined();
  await manager.stop();
});
