import { describe, expect, test } from 'vitest';
import { ClusterError } from '../../lib/errors.ts';
import { silentLog } from '../../lib/log.ts';
import { VirtualClock } from '../../lib/testing/virtual-clock.ts';
import type { NodeRole } from '../../model/spec.ts';
import { newNode } from '../ca/ca.ts';
import { createStore } from '../store/store.ts';
import { createRoles } from './loop.ts';

/** This manager is `m1`; the loop has run until nothing is left to do. */
async function reconciled(
  nodes: readonly { readonly id: string; readonly role: NodeRole; readonly wished: NodeRole }[],
  members: readonly string[],
  { stuck = '', times = Number.POSITIVE_INFINITY, forMs = 100 } = {},
) {
  const clock = new VirtualClock();
  const store = createStore({ proposer: null, now: () => clock.now() });
  await store.transact((tx) => {
    for (const { id, role, wished } of nodes) {
      const node = newNode(id, role, 'active', 0);
      tx.create('node', { ...node, spec: { ...node.spec, Role: wished } });
    }
  });
  const left = new Set(members);
  const handedOver: string[] = [];
  const loop = createRoles({
    store,
    clock,
    log: silentLog,
    membership: {
      selfNodeId: 'm1',
      members: () => [...left].map((nodeId) => ({ nodeId })),
      remove: async (id) => {
        if (stuck === id && times-- > 0) throw new ClusterError('failed_precondition', 'the quorum would be lost');
        left.delete(id);
      },
      handOver: async () => void handedOver.push('m1'),
    },
  });
  loop.start();
  await clock.advance(forMs);
  await loop.stop();
  return { members: [...left], handedOver, role: (id: string) => store.view.get('node', id)?.role };
}

const manager = (id: string) => ({ id, role: 'manager', wished: 'manager' }) as const;

describe('roles', () => {
  test('F23: a demotion that a new leader finds is finished: the manager leaves the group, then it is a worker', async () => {
    const { members, role } = await reconciled(
      [manager('m1'), { id: 'm2', role: 'manager', wished: 'worker' }],
      ['m1', 'm2'],
    );
    expect(members).toEqual(['m1']);
    expect(role('m2')).toBe('worker');
  });

  test('F21: a demoted leader only hands over: it is still a member, so it is no worker yet', async () => {
    const { members, handedOver, role } = await reconciled(
      [{ id: 'm1', role: 'manager', wished: 'worker' }, manager('m2')],
      ['m1', 'm2'],
    );
    expect(handedOver).not.toEqual([]);
    expect(members).toEqual(['m1', 'm2']);
    expect(role('m1')).toBe('manager');
  });

  test('a worker that is a member all the same, and the member of a removed node, are taken out', async () => {
    const worker = { id: 'm2', role: 'worker', wished: 'worker' } as const;
    const { members } = await reconciled([manager('m1'), worker], ['m1', 'm2', 'gone']);
    expect(members).toEqual(['m1']);
  });

  test('a node that is being promoted stays a member', async () => {
    const joining = { id: 'm2', role: 'worker', wished: 'manager' } as const;
    const { members, role } = await reconciled([manager('m1'), joining], ['m1', 'm2']);
    expect(members).toEqual(['m1', 'm2']);
    expect(role('m2')).toBe('manager');
  });

  test('a demotion that must wait holds up no other change, least of all a promotion', async () => {
    const { members, role } = await reconciled(
      [
        { id: 'm1', role: 'manager', wished: 'manager' },
        { id: 'm2', role: 'manager', wished: 'worker' },
        { id: 'm3', role: 'manager', wished: 'worker' },
        { id: 'm4', role: 'worker', wished: 'manager' },
      ],
      ['m1', 'm2', 'm3', 'gone'],
      { stuck: 'm2' },
    );
    expect([role('m2'), role('m3'), role('m4')]).toEqual(['manager', 'worker', 'manager']);
    expect(members).toEqual(['m1', 'm2']);
  });

  test('it is tried again after a while', async () => {
    const nodes = [manager('m1'), { id: 'm2', role: 'manager', wished: 'worker' }] as const;
    const { role } = await reconciled(nodes, ['m1', 'm2'], { stuck: 'm2', times: 1, forMs: 3_000 });
    expect(role('m2')).toBe('worker');
  });
});
