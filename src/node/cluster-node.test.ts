import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { type Clock, sleep } from '../lib/clock.ts';
import { ClusterError } from '../lib/errors.ts';
import { silentLog } from '../lib/log.ts';
import { realClock, realRandom } from '../lib/real.ts';
import { FakeExecutor } from '../worker/executor/fake.ts';
import { MemoryTaskDisk } from '../worker/task-db.ts';
import { ClusterNode } from './cluster-node.ts';
import { hostAddresses } from './system.ts';

const undo: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each();
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}

/** A node with its own directory and port on the loopback interface; `restart` is the daemon started again. */
async function host() {
  const dataDir = await mkdtemp(join(tmpdir(), 'cluster-node-'));
  const addr = `127.0.0.1:${await freePort()}`;
  const disk = new MemoryTaskDisk();
  const warnings: string[] = [];
  const executor = new FakeExecutor({ clock: realClock, random: realRandom });
  const make = (clock: Clock = realClock) =>
    new ClusterNode({
      dataDir,
      listenAddr: addr,
      advertiseAddr: addr,
      clock,
      random: realRandom,
      log: { ...silentLog, warn: (message) => void warnings.push(message) },
      worker: { executor, openTaskDb: () => disk.open() },
      machine: {
        hostname: 'h',
        version: '0',
        os: 'linux',
        architecture: 'x86_64',
        kernel: '0',
        cpus: 1,
        memoryBytes: 1,
        dataDir,
        runtime: { name: 'fake', version: '0', snapshotter: 'fake' },
        registryMirrors: [],
        insecureRegistries: [],
      },
      resolveImage: async () => {
        throw new ClusterError('unimplemented', 'no registry here');
      },
      onFatal: () => {},
    });
  const self = {
    addr,
    dataDir,
    warnings,
    identityPath: join(dataDir, 'identity.json'),
    node: make(),
    init: () => self.node.init(initRequest),
    join: async (to: { node: ClusterNode; addr: string }, role: 'manager' | 'worker', advertiseAddr = '') => {
      const joinToken = to.node.manager()?.view.cluster()?.rootCa.joinTokens[role] ?? '';
      return self.node.join({ ...addresses, advertiseAddr, remoteAddrs: [to.addr], joinToken, availability: '' });
    },
    restart: async (clock?: Clock, whileDown: () => Promise<unknown> = async () => {}) => {
      await self.node.stop();
      await whileDown();
      self.node = make(clock);
      await self.node.start();
    },
  };
  undo.push(async () => {
    await self.node.stop();
    await rm(dataDir, { recursive: true, force: true });
  });
  return self;
}

const addresses = { listenAddr: '', advertiseAddr: '' };
/** The fifteen seconds in which a new manager has to hear of a leader are one. */
const hurried: Clock = { ...realClock, timer: (ms, run) => realClock.timer(ms === 15_000 ? 1_000 : ms, run) };
const initRequest = { ...addresses, availability: '', forceNewCluster: false, spec: {} };

async function until(what: () => boolean, limitMs = 15_000): Promise<void> {
  const end = realClock.monotonic() + limitMs;
  while (!what()) {
    if (realClock.monotonic() > end) throw new Error('it never came true');
    await sleep(realClock, 20);
  }
}

/** As `node update --role`, at the manager `at`; resolves once the cluster has made it so. */
async function wish(at: { node: ClusterNode }, nodeId: string, Role: 'manager' | 'worker'): Promise<void> {
  const tryOnce = async () => {
    const node = at.node.manager()?.view.get('node', nodeId);
    if (node === undefined) throw new Error('the node is not known');
    const request = { id: nodeId, version: node.meta.version, spec: { ...node.spec, Role } };
    await at.node.manager()?.call('node.update', request);
  };
  await tryOnce().catch(tryOnce); // its state was written in between
  await until(() => at.node.manager()?.view.get('node', nodeId)?.role === Role);
}

function raftIdOf(at: { node: ClusterNode }, nodeId: string): number | undefined {
  const members = at.node.manager()?.members() ?? [];
  return members.find((member) => member.nodeId === nodeId)?.raftId;
}

describe('address plan', () => {
  test('what is asked for at init is kept in the cluster; the rest suits this host', async () => {
    const { node } = await host();
    const network = { addressPools: ['10.77.0.0/16'], subnetSize: 26, ingressPool: '10.78.0.0/16' };
    await node.init({ ...initRequest, network });
    expect(node.manager()?.view.cluster()?.network).toMatchObject({ ...network, dataPathPort: 4789 });
  });

  test('a pool that this host is on is refused before anything is made', async () => {
    const { node, identityPath } = await host();
    const own = hostAddresses()[0];
    if (own === undefined) return;
    const refused = node.init({ ...initRequest, network: { addressPools: [`${own.address}/16`] } });
    await expect(refused).rejects.toThrow(`which interface ${own.name} of this host is on`);
    expect([node.info().state, existsSync(identityPath)]).toEqual(['inactive', false]);
  });
});

describe('a node', () => {
  test('that cannot listen is no member afterwards, and can found a cluster once it can', async () => {
    const one = await host();
    const squatter = createServer();
    await new Promise<void>((resolve) => squatter.listen(Number(one.addr.split(':')[1]), '127.0.0.1', resolve));
    await expect(one.init()).rejects.toMatchObject({ kind: 'failed_precondition' });
    expect(existsSync(one.identityPath)).toBe(false);
    expect(one.node.info().state).toBe('inactive');
    await new Promise((resolve) => squatter.close(resolve));
    await one.init();
    expect(one.node.info().state).toBe('active');
  });

  test('C9 F13: refuses by name to found a new cluster from what an old one left', async () => {
    const one = await host();
    await expect(one.node.init({ ...initRequest, forceNewCluster: true })).rejects.toMatchObject({
      kind: 'unimplemented',
      message: '--force-new-cluster is not supported yet',
    });
  });

  test('that founded a cluster goes on with it after a restart, and founds no second one when its log is gone', async () => {
    const one = await host();
    const { nodeId } = await one.init();
    await one.restart();
    await until(() => one.node.manager()?.view.get('node', nodeId) !== undefined);
    await one.node.stop();
    await rm(join(one.dataDir, 'raft'), { recursive: true });
    await one.restart();
    expect(
      one.node
        .manager()
        ?.members()
        .some((member) => member.leader),
    ).toBe(false);
  });

  test('F12: whose log is lost joins again as another member, and founds nothing', async () => {
    const [one, two, three] = [await host(), await host(), await host()];
    await one.init();
    const { nodeId } = await two.join(one, 'manager');
    await three.join(one, 'manager');
    await until(() => one.node.manager()?.members().length === 3);
    const before = raftIdOf(one, nodeId) ?? 0;
    await two.restart(realClock, () => rm(join(two.dataDir, 'raft'), { recursive: true }));
    await until(() => (raftIdOf(one, nodeId) ?? 0) > before, 25_000);
    await until(() => two.node.manager()?.view.get('node', nodeId)?.manager?.raftId === raftIdOf(one, nodeId));
    expect(one.node.manager()?.members()).toHaveLength(3);
  }, 40_000);

  test('F14: that nobody reaches where it says it is does not join, and is told the address', async () => {
    const [one, two] = [await host(), await host()];
    await one.init();
    const wrong = `127.0.0.1:${await freePort()}`;
    await two.restart(hurried);
    await expect(two.join(one, 'manager', wrong)).rejects.toMatchObject({
      kind: 'unavailable',
      message: `this manager has not heard from a leader yet: can the other managers reach it at ${wrong}?`,
    });
    expect([two.node.info().state, existsSync(two.identityPath)]).toEqual(['inactive', false]);
    expect(one.node.manager()?.members()).toHaveLength(1);
  }, 30_000);

  test('that joins as a manager where it cannot listen leaves no member behind', async () => {
    const [one, two] = [await host(), await host()];
    await one.init();
    const squatter = createServer();
    await new Promise<void>((resolve) => squatter.listen(Number(two.addr.split(':')[1]), '127.0.0.1', resolve));
    await expect(two.join(one, 'manager')).rejects.toMatchObject({ kind: 'failed_precondition' });
    await new Promise((resolve) => squatter.close(resolve));
    expect(one.node.manager()?.members()).toHaveLength(1);
    expect([...(one.node.manager()?.view.list('node') ?? [])]).toHaveLength(1); // nor an entry that nobody will ever fill
  });

  test('that was removed while it was away stops its tasks, says what to do, and may join again', async () => {
    const [one, two] = [await host(), await host()];
    await one.init();
    const { nodeId } = await two.join(one, 'worker');
    await two.node.stop();
    await one.node.manager()?.call('node.remove', { id: nodeId, force: true });
    await two.restart();
    await until(() => two.node.info().state === 'error');
    expect(two.node.info().error).toMatch(/was removed from the cluster.*tscluster leave --force/);
    await two.restart();
    expect(two.node.info().state).toBe('error');
    await two.node.leave(true);
    expect(two.node.info()).toMatchObject({ state: 'inactive', error: '' });
    await two.join(one, 'worker');
    expect(two.node.info().state).toBe('active');
  });

  test('C9: whose certificate ran out while it was away says so, and keeps its tasks', async () => {
    const [one, two] = [await host(), await host()];
    await one.init();
    await two.join(one, 'worker');
    await two.restart({ ...realClock, now: () => realClock.now() + 100 * 24 * 3600 * 1000 });
    expect(two.node.info().state).toBe('error');
    expect(two.node.info().error).toMatch(/certificate of this node has expired.*tscluster leave --force/);
    await two.restart();
    expect(two.node.info().state).toBe('active');
  });

  test('F22: that was demoted while it was away is taken out of the group, and comes back as a worker', async () => {
    const [one, two, three] = [await host(), await host(), await host()];
    await one.init();
    const { nodeId } = await two.join(one, 'manager');
    await three.join(one, 'manager');
    await until(() => one.node.manager()?.members().length === 3);
    await two.node.stop();
    await wish(one, nodeId, 'worker');
    expect(one.node.manager()?.members()).toHaveLength(2);
    await two.restart();
    await until(() => two.node.info().role === 'worker' && two.node.manager() === undefined, 25_000);
    expect(two.node.info()).toMatchObject({ nodeId, state: 'active' });
    await until(() => one.node.manager()?.view.get('node', nodeId)?.status.state === 'ready');
    expect(one.node.manager()?.members()).toHaveLength(2);
  }, 40_000);

  test('that was demoted and promoted again while it was away comes back as another member of the group', async () => {
    const [one, two, three] = [await host(), await host(), await host()];
    await one.init();
    const { nodeId } = await two.join(one, 'manager');
    await three.join(one, 'manager');
    await until(() => one.node.manager()?.members().length === 3);
    const idOf = () => raftIdOf(one, nodeId);
    const before = idOf() ?? 0;
    await two.node.stop();
    await wish(one, nodeId, 'worker');
    await wish(one, nodeId, 'manager');
    await two.restart();
    await until(() => (idOf() ?? 0) > before, 25_000);
    await until(
      () =>
        two.node
          .manager()
          ?.members()
          .some((member) => member.leader) === true,
    );
    await until(() => two.node.manager()?.view.get('node', nodeId)?.manager?.raftId === idOf());
  }, 40_000);

  test('C6: that is promoted becomes a manager as soon as nothing stands in the way, and a worker again when demoted', async () => {
    const [one, two] = [await host(), await host()];
    await one.init();
    const { nodeId } = await two.join(one, 'worker');
    const setRole = async (Role: 'manager' | 'worker') => {
      const node = one.node.manager()?.view.get('node', nodeId);
      if (node === undefined) throw new Error('the node is not known');
      const request = { id: nodeId, version: node.meta.version, spec: { ...node.spec, Role } };
      await one.node.manager()?.call('node.update', request);
    };
    const squatter = createServer();
    await new Promise<void>((resolve) => squatter.listen(Number(two.addr.split(':')[1]), '127.0.0.1', resolve));
    await setRole('manager');
    await until(() => two.warnings.includes('change of role has to wait')); // the certificate is there, the port is not
    await new Promise((resolve) => squatter.close(resolve));
    await until(() => two.node.manager() !== undefined && one.node.manager()?.members().length === 2);
    await setRole('worker');
    await until(() => two.node.manager() === undefined && two.node.info().role === 'worker');
    await until(() => !existsSync(join(two.dataDir, 'raft')));
    expect(one.node.manager()?.members()).toHaveLength(1);
  }, 30_000);

  test('that stops is gone at once, also when it leads, and when no majority is left', async () => {
    const [one, two, three] = [await host(), await host(), await host()];
    await one.init();
    await two.join(one, 'manager');
    await three.join(one, 'manager');
    await until(() => three.node.manager()?.members().length === 3);
    for (const { node } of [one, two, three]) {
      const began = realClock.monotonic();
      await node.stop();
      expect(realClock.monotonic() - began).toBeLessThan(2_500);
    }
  }, 30_000);

  test('F7: that leads and leaves is taken out of the group, and may join again only when it is gone', async () => {
    const [one, two] = [await host(), await host()];
    await one.init();
    await two.join(one, 'manager');
    await until(() => two.node.manager()?.members().length === 2);
    await expect(one.node.leave(false)).rejects.toMatchObject({ kind: 'unavailable' });
    const leaving = one.node.leave(true);
    await expect(one.join(two, 'worker')).rejects.toThrow('joining or leaving');
    await leaving;
    expect(one.node.info().state).toBe('inactive');
    expect(existsSync(one.identityPath)).toBe(false);
    await until(() => two.node.manager()?.members().length === 1);
    await one.join(two, 'worker');
    expect(one.node.info().role).toBe('worker');
  }, 30_000);
});
