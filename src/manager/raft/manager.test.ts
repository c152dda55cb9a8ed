import { MemoryBus, MemoryLogStore, MemorySnapshotStore, type Network, VirtualRuntime } from 'raft-ts/sim';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Clock } from '../../lib/clock.ts';
import { silentLog } from '../../lib/log.ts';
import { defaultClusterSpec } from '../../model/defaults.ts';
import { TaskState } from '../../model/task-state.ts';
import type { Draft } from '../store/port.ts';
import { createStore, type MemoryStore } from '../store/store.ts';
import { noLeaderMessage, quorumLossMessage } from './errors.ts';
import { RaftManager } from './manager.ts';
import type { Member } from './members.ts';

interface Host {
  readonly self: Member;
  readonly log: MemoryLogStore;
  readonly snapshots: MemorySnapshotStore;
  store: MemoryStore;
  raft: RaftManager;
}

interface Snapshotting {
  readonly snapshotEveryEntries?: number;
  readonly keepEntries?: number;
}

/** Managers in one process under virtual time; links can be cut. */
class World {
  readonly runtime: VirtualRuntime;
  readonly clock: Clock;
  readonly hosts: Host[] = [];
  readonly #cut = new Set<number>();
  readonly #bus: MemoryBus;

  constructor(seed: number) {
    const runtime = new VirtualRuntime({ seed, settle: () => new Promise((resolve) => setImmediate(resolve)) });
    const network: Network = (parcel) => {
      if (this.#cut.has(parcel.from) || this.#cut.has(parcel.to)) return false;
      runtime.setTimer(1, () => parcel.deliver());
      return true;
    };
    this.runtime = runtime;
    this.#bus = new MemoryBus(network);
    this.clock = {
      now: () => 1_700_000_000_000 + runtime.now(),
      monotonic: () => runtime.now(),
      timer: (delayMs, run) => runtime.setTimer(delayMs, run),
      defer: (run) => runtime.defer(run),
    };
    onTestFinished(() => Promise.all(this.hosts.map((host) => host.raft.close({ transfer: false }))).then(() => {}));
  }

  cut(host: Host): void {
    this.#cut.add(host.self.raftId);
  }

  heal(host: Host): void {
    this.#cut.delete(host.self.raftId);
  }

  async start(self: Member, members: readonly Member[] | undefined, options: Snapshotting = {}): Promise<Host> {
    const log = new MemoryLogStore({ runtime: this.runtime, syncDelayMs: () => 1 });
    const disk = { self, log, snapshots: new MemorySnapshotStore() };
    const host = {
      ...disk,
      ...(await this.#open(disk, { ...options, ...(members === undefined ? {} : { members }) })),
    };
    this.hosts.push(host);
    return host;
  }

  async restart(host: Host): Promise<void> {
    this.#bus.leave(host.self.raftId);
    host.log.crash();
    Object.assign(host, await this.#open(host, {}));
  }

  async #open(
    disk: Pick<Host, 'self' | 'log' | 'snapshots'>,
    options: Snapshotting & { members?: readonly Member[] },
  ): Promise<{ store: MemoryStore; raft: RaftManager }> {
    const { self, log, snapshots } = disk;
    const store = createStore({ proposer: null, now: () => this.clock.now() });
    const ports = { log, snapshots, transport: this.#bus.join(self.raftId), runtime: this.runtime };
    const bootstrap = self.raftId === 1 && log.durable.snapshot === undefined;
    const opening = RaftManager.open({ self, store, ports, clock: this.clock, log: silentLog, bootstrap, ...options });
    return { store, raft: await this.wait(opening) };
  }

  /** Lets virtual time pass until `work` is done. */
  async wait<T>(work: Promise<T>, limitMs = 60_000): Promise<T> {
    let settled = false;
    const mark = () => {
      settled = true;
    };
    work.then(mark, mark);
    await this.runtime.until(() => settled, { limitMs });
    return work;
  }

  async found(options: Snapshotting = {}): Promise<Host> {
    const host = await this.start({ raftId: 1, nodeId: 'node-1', addr: 'host1:2377' }, undefined, options);
    await this.runtime.until(() => host.raft.isLeader());
    await this.wait(host.store.transact((tx) => tx.create('cluster', cluster)));
    return host;
  }

  async join(leader: Host, number: number): Promise<Host> {
    const nodeId = `node-${number}`;
    const addr = `host${number}:2377`;
    const { raftId } = await this.wait(leader.raft.addMember(nodeId, addr));
    return this.start({ raftId, nodeId, addr }, leader.raft.members());
  }

  async three(): Promise<[Host, Host, Host]> {
    const first = await this.found();
    const second = await this.join(first, 2);
    const third = await this.join(first, 3);
    await this.runtime.until(() => first.raft.status().conf.voters.length === 3);
    return [first, second, third];
  }

  leader(): Host {
    const leader = this.hosts.find((host) => host.raft.isLeader() && !this.#cut.has(host.self.raftId));
    if (leader === undefined) throw new Error('nobody leads');
    return leader;
  }
}

const cluster: Draft<'cluster'> = {
  id: 'cluster',
  spec: defaultClusterSpec,
  rootCa: { certPem: '', keyPem: '', joinTokens: { worker: '', manager: '' } },
  removedNodes: {},
  nextRaftId: 2,
};

function task(id: string): Draft<'task'> {
  return {
    id,
    serviceId: 's',
    slot: 1,
    nodeId: '',
    spec: { ContainerSpec: { Image: 'nginx' } },
    specVersion: 1,
    serviceName: 'web',
    serviceLabels: {},
    endpoint: {},
    desired: TaskState.running,
    status: { state: TaskState.new, timestamp: 0, message: '', err: '' },
    restarts: [],
  };
}

const taskIds = (host: Host) => [...host.store.view.list('task')].map((one) => one.id);
const create = (host: Host, id: string) => host.store.transact((tx) => tx.create('task', task(id)));

describe('a group of managers', () => {
  test('a founder leads alone and its writes are applied', async () => {
    const world = new World(1);
    const host = await world.found();
    await world.wait(create(host, 't1'));
    expect(host.store.view.get('task', 't1')?.meta.createdAt).toBeGreaterThan(1_700_000_000_000);
    expect(host.raft.leader()).toEqual({ nodeId: 'node-1', addr: 'host1:2377' });
  });

  test('F1 F9: a joining manager catches up, gets a vote, and knows every address', async () => {
    const world = new World(2);
    const [first, second, third] = await world.three();
    await world.wait(create(first, 't1'));
    const version = first.store.view.version;
    await world.wait(Promise.all([second, third].map((host) => host.raft.waitApplied(version, 5_000))));
    for (const host of world.hosts) {
      expect(host.store.view.get('task', 't1')).toEqual(first.store.view.get('task', 't1'));
      expect(host.raft.leader()).toEqual({ nodeId: 'node-1', addr: 'host1:2377' });
      expect(host.raft.members().map(({ nodeId, addr, leader }) => [nodeId, addr, leader])).toEqual([
        ['node-1', 'host1:2377', true],
        ['node-2', 'host2:2377', false],
        ['node-3', 'host3:2377', false],
      ]);
    }
    expect(first.raft.members().map((member) => member.reachability)).toEqual(['reachable', 'reachable', 'reachable']);
  });

  test('F3: another manager takes over from a silent leader, and both are told', async () => {
    const world = new World(3);
    const [first, second, third] = await world.three();
    const told: [string, boolean, string | undefined][] = [];
    for (const { raft, self } of [first, second, third]) {
      raft.onLeadership((isLeader, leader) => told.push([self.nodeId, isLeader, leader?.nodeId]));
    }
    world.cut(first);
    await world.runtime.until(() => second.raft.isLeader() || third.raft.isLeader(), { limitMs: 5_000 });
    const next = world.leader();
    await world.runtime.until(() => first.raft.leader() === undefined);
    expect(told).toContainEqual(['node-1', false, undefined]);
    expect(told).toContainEqual([next.self.nodeId, true, next.self.nodeId]);
    await world.wait(create(next, 't1'));
    await world.runtime.advance(2_000);
    expect(next.raft.members()[0]).toMatchObject({ nodeId: 'node-1', reachability: 'unreachable' });
    world.heal(first);
    await world.wait(first.raft.waitApplied(next.store.view.version, 10_000));
    expect(first.store.view.get('task', 't1')?.id).toBe('t1');
  });

  test('F4 F15: one that can not be reached is marked so, the others go on; back again it is reachable', async () => {
    const world = new World(17);
    const [first, , third] = await world.three();
    const reachability = () => first.raft.members().map((member) => member.reachability);
    world.cut(third);
    await world.runtime.until(() => reachability()[2] === 'unreachable', { limitMs: 10_000 });
    expect(reachability()).toEqual(['reachable', 'reachable', 'unreachable']);
    await world.wait(create(first, 't1'));
    world.heal(third);
    await world.runtime.until(() => reachability()[2] === 'reachable', { limitMs: 10_000 });
    await world.wait(third.raft.waitApplied(first.store.view.version, 10_000));
    expect(third.store.view.get('task', 't1')?.id).toBe('t1');
  });

  test('F5 F6: a write without a majority fails within five seconds and says why; with it all are equal again', async () => {
    const world = new World(4);
    const [first, second, third] = await world.three();
    world.cut(second);
    world.cut(third);
    const began = world.runtime.now();
    const failure = await world.wait(create(first, 't1').catch((error: unknown) => error));
    expect(failure).toMatchObject({ kind: 'deadline', message: noLeaderMessage });
    expect(world.runtime.now() - began).toBeLessThan(5_500);
    await expect(world.wait(create(first, 't2'))).rejects.toMatchObject({
      kind: 'unavailable',
      message: noLeaderMessage,
    });
    await expect(world.wait(first.raft.readBarrier())).rejects.toMatchObject({ name: 'ClusterError' });
    world.heal(second);
    world.heal(third);
    await world.runtime.until(() => world.hosts.some(({ raft }) => raft.isLeader()), { limitMs: 20_000 });
    const leader = world.leader();
    await world.wait(create(leader, 't3'));
    await world.wait(Promise.all(world.hosts.map(({ raft }) => raft.waitApplied(leader.store.view.version, 10_000))));
    for (const host of world.hosts) expect(taskIds(host)).toEqual(taskIds(leader));
    // What timed out may have come through after all; what was refused has not.
    expect(taskIds(leader).filter((id) => id !== 't1')).toEqual(['t3']);
  });

  test('a follower refuses writes and answers reads after a barrier', async () => {
    const world = new World(5);
    const [first, second] = await world.three();
    await expect(world.wait(create(second, 't1'))).rejects.toMatchObject({
      kind: 'unavailable',
      message: noLeaderMessage,
    });
    await world.wait(create(first, 't2'));
    await world.wait(second.raft.readBarrier());
    expect(second.store.view.get('task', 't2')?.id).toBe('t2');
  });

  test('concurrent writers to one object all succeed, on every replica alike', async () => {
    const world = new World(6);
    const [first, second] = await world.three();
    await world.wait(create(first, 't1'));
    const add = (at: number) =>
      first.store.transact((tx) => {
        const before = tx.get('task', 't1');
        if (before !== undefined) tx.update('task', { ...before, restarts: [...before.restarts, at] });
      });
    await world.wait(Promise.all([1, 2, 3, 4].map(add)));
    await world.wait(second.raft.waitApplied(first.store.view.version, 5_000));
    expect([...(second.store.view.get('task', 't1')?.restarts ?? [])].sort()).toEqual([1, 2, 3, 4]);
    expect(second.store.view.get('task', 't1')).toEqual(first.store.view.get('task', 't1'));
  });

  test('F7: a manager that stops cleanly hands its leadership over', async () => {
    const world = new World(7);
    const [first, second, third] = await world.three();
    await world.runtime.advance(2_000);
    const began = world.runtime.now();
    await world.wait(first.raft.close());
    await world.runtime.until(() => second.raft.isLeader() || third.raft.isLeader());
    expect(world.runtime.now() - began).toBeLessThan(500);
    await expect(create(first, 't1')).rejects.toMatchObject({ kind: 'unavailable' });
  });

  test('a restarted manager comes back with its state and its members', async () => {
    const world = new World(8);
    const [first, second] = await world.three();
    await world.wait(create(first, 't1'));
    await world.wait(second.raft.waitApplied(first.store.view.version, 5_000));
    await world.restart(second);
    await world.wait(create(first, 't2'));
    await world.wait(second.raft.waitApplied(first.store.view.version, 10_000));
    expect(taskIds(second)).toEqual(['t1', 't2']);
    expect(second.raft.members().map((member) => member.addr)).toEqual(['host1:2377', 'host2:2377', 'host3:2377']);
  });

  test.each([
    ['together', 0],
    ['one after the other', 5_000],
  ])('F11: all stop and start again %s, with all that was written', async (_, gapMs) => {
    const world = new World(18);
    const hosts = await world.three();
    for (const id of ['t1', 't2']) await world.wait(create(hosts[0], id));
    for (const { raft } of hosts) await world.wait(raft.close({ transfer: false }));
    for (const host of hosts) {
      await world.restart(host);
      await world.runtime.advance(gapMs);
    }
    await world.runtime.until(() => hosts.some(({ raft }) => raft.isLeader()), { limitMs: 20_000 });
    const leader = world.leader();
    await world.wait(create(leader, 't3'));
    await world.wait(Promise.all(hosts.map(({ raft }) => raft.waitApplied(leader.store.view.version, 10_000))));
    for (const host of hosts) expect(taskIds(host)).toEqual(['t1', 't2', 't3']);
  });

  test('F10: after nine of ten entries there is no snapshot, after ten there is, and a newcomer gets it', async () => {
    const world = new World(19);
    const first = await world.found({ snapshotEveryEntries: 10, keepEntries: 0 });
    const at = () => first.log.durable.snapshot?.index ?? 0;
    const begin = at();
    const next = () => world.wait(create(first, `t${first.store.view.version}`));
    while (first.store.view.version < begin + 9) await next();
    await world.runtime.advance(1_000);
    expect([at(), first.store.view.version]).toEqual([begin, begin + 9]);
    await next();
    await world.runtime.until(() => at() === begin + 10, { limitMs: 1_000 });
    const late = await world.join(first, 2);
    await world.wait(late.raft.waitApplied(first.store.view.version, 10_000));
    expect(late.log.durable.snapshot?.index).toBeGreaterThanOrEqual(begin + 10);
    expect(taskIds(late)).toEqual(taskIds(first));
  });

  test('F9: a manager that joins late gets a snapshot with the members in it', async () => {
    const world = new World(9);
    const first = await world.found({ snapshotEveryEntries: 20 });
    const ids = Array.from({ length: 700 }, (_, at) => `t${at}`);
    for (const id of ids) await world.wait(create(first, id));
    const late = await world.join(first, 2);
    await world.wait(late.raft.waitApplied(first.store.view.version, 30_000));
    expect(late.store.view.count('task')).toBe(700);
    expect([...late.store.view.list('task')]).toEqual([...first.store.view.list('task')]);
    await world.runtime.until(() => late.raft.members().length === 2);
  });
});

describe('faults', () => {
  test.each([21, 22, 23, 24, 25, 26])(
    'F17: no acknowledged write is lost and replicas stay identical (seed %i)',
    async (seed) => {
      const world = new World(seed);
      const hosts = await world.three();
      const acknowledged: string[] = [];
      const under = new Set<Promise<void>>();
      for (let round = 0; round < 60; round++) {
        const host = hosts[world.runtime.random.uint32() % 3] as Host;
        const dice = world.runtime.random.uint32() % 12;
        if (dice === 0) hosts.forEach((one) => world.heal(one));
        else if (dice === 1) world.cut(host);
        else if (dice === 2) await world.restart(host);
        for (const { store, raft } of hosts) {
          if (!raft.isLeader()) continue;
          const id = `t${round}`;
          const work = store
            .transact((tx) => tx.create('task', task(id)))
            .then(
              () => void acknowledged.push(id),
              () => {},
            );
          under.add(work.finally(() => under.delete(work)));
        }
        await world.runtime.advance(150);
        for (const one of hosts) expect(one.raft.invariants()).toEqual([]);
      }
      hosts.forEach((one) => world.heal(one));
      await world.runtime.advance(10_000);
      await world.wait(create(world.leader(), 'last'));
      const { version } = world.leader().store.view;
      await world.wait(Promise.all(hosts.map((one) => one.raft.waitApplied(version, 20_000))));
      const [first, ...rest] = hosts.map((one) => [...one.store.view.list('task')]);
      for (const other of rest) expect(other).toEqual(first);
      const ids = new Set(first?.map((one) => one.id));
      expect(acknowledged.filter((id) => !ids.has(id))).toEqual([]);
      expect(acknowledged.length).toBeGreaterThan(10);
    },
  );

  test('a broken disk stops the member and says so', async () => {
    const world = new World(30);
    const [first, second] = await world.three();
    const faults: string[] = [];
    first.raft.onFault((fault) => faults.push(fault.message));
    first.log.fail(new Error('no space left on device'));
    await expect(world.wait(create(first, 't1'))).rejects.toBeInstanceOf(Error);
    await world.runtime.until(() => faults.length > 0);
    expect(first.raft.isLeader()).toBe(false);
    await world.runtime.until(() => second.raft.leader() !== undefined && second.raft.leader()?.nodeId !== 'node-1');
  });
});

describe('membership', () => {
  test('F7: a member that is taken out is told, the leader included', async () => {
    const world = new World(10);
    const [first, , third] = await world.three();
    await world.wait(first.raft.removeMember('node-3'));
    await world.runtime.advance(1_000);
    expect(first.raft.members().map((member) => member.nodeId)).toEqual(['node-1', 'node-2']);
    let told = false;
    first.raft.onRemoved(() => {
      told = true;
    });
    await world.wait(first.raft.removeMember('node-1'));
    await world.runtime.until(() => told);
    expect(first.raft.isMember()).toBe(false);
    expect(third.raft.isLeader()).toBe(false);
  });

  test('F8: refuses a removal that would lose the quorum', async () => {
    const world = new World(11);
    const [first, second, third] = await world.three();
    world.cut(third);
    await world.runtime.advance(3_000);
    const refused = world.wait(world.leader().raft.removeMember(world.leader() === first ? 'node-2' : 'node-1'));
    await expect(refused).rejects.toMatchObject({ kind: 'failed_precondition', message: quorumLossMessage });
    await world.wait(world.leader().raft.removeMember('node-3'));
    expect(
      world
        .leader()
        .raft.members()
        .map((member) => member.nodeId),
    ).toEqual(['node-1', 'node-2']);
    await world.wait(create(world.leader(), 't1'));
    expect(second.raft.members().length).toBe(2);
  });

  test('refuses to remove the only member and does nothing for a stranger', async () => {
    const world = new World(12);
    const first = await world.found();
    await expect(world.wait(first.raft.removeMember('node-1'))).rejects.toMatchObject({ message: quorumLossMessage });
    await world.wait(first.raft.removeMember('nobody'));
    expect(first.raft.members().length).toBe(1);
  });

  test('F2: a node that joins again gets a new id, and the old one goes', async () => {
    const world = new World(13);
    const first = await world.found();
    const old = await world.wait(first.raft.addMember('node-2', 'host2:2377'));
    const again = await world.wait(first.raft.addMember('node-2', 'host2:4000'));
    expect(again.raftId).toBeGreaterThan(old.raftId);
    expect(first.raft.members().map(({ raftId, addr }) => [raftId, addr])).toEqual([
      [1, 'host1:2377'],
      [again.raftId, 'host2:4000'],
    ]);
  });

  test('a learner that never starts does not cost the quorum; the next leader promotes the ones that do', async () => {
    const world = new World(14);
    const [first, second, third] = await world.three();
    await world.wait(first.raft.addMember('node-4', 'host4:2377'));
    const { raftId } = await world.wait(first.raft.addMember('node-5', 'host5:2377'));
    world.cut(first);
    await world.runtime.until(() => second.raft.isLeader() || third.raft.isLeader());
    const members = world.leader().raft.members();
    const late = await world.start({ raftId, nodeId: 'node-5', addr: 'host5:2377' }, members);
    await world.runtime.until(() => world.leader().raft.status().conf.voters.includes(raftId));
    await world.wait(create(world.leader(), 't1'));
    await world.wait(late.raft.waitApplied(world.leader().store.view.version, 5_000));
    expect(world.leader().raft.status().conf.learners.length).toBe(1);
  });

  test('leadership moves on request', async () => {
    const world = new World(15);
    const [first] = await world.three();
    await world.wait(first.raft.transferLeadership());
    await world.runtime.until(() => !first.raft.isLeader() && first.raft.leader() !== undefined);
    expect(first.raft.leader()?.nodeId).not.toBe('node-1');
  });

  test('only the leader changes members', async () => {
    const world = new World(16);
    const [, second] = await world.three();
    await expect(second.raft.addMember('node-4', 'host4:2377')).rejects.toMatchObject({ kind: 'unavailable' });
    await expect(second.raft.removeMember('node-3')).rejects.toMatchObject({ kind: 'unavailable' });
  });
});
