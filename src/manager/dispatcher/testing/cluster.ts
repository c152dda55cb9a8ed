/** A leader's dispatcher and log broker, and agents on fake executors, joined by streams in memory under a virtual clock. */

import { ClusterError } from '../../../lib/errors.ts';
import { silentLog } from '../../../lib/log.ts';
import { seededRandom } from '../../../lib/random.ts';
import { type MemoryDuplexPair, memoryDuplex } from '../../../lib/testing/memory-duplex.ts';
import { VirtualClock } from '../../../lib/testing/virtual-clock.ts';
import type { AgentMessage, ManagerMessage, ManagerPeer } from '../../../model/assignment.ts';
import { defaultClusterSpec } from '../../../model/defaults.ts';
import { TaskState } from '../../../model/task-state.ts';
import type { Dialer, Peer } from '../../../rpc/port.ts';
import { type Agent, createAgent } from '../../../worker/agent.ts';
import { FakeExecutor } from '../../../worker/executor/fake.ts';
import { MemoryTaskDisk } from '../../../worker/task-db.ts';
import { createLogBroker, type LogBroker } from '../../logs/index.ts';
import type { Draft } from '../../store/port.ts';
import { createStore, type MemoryStore } from '../../store/store.ts';
import { createDispatcher, type Dispatcher, type DispatcherLimits } from '../index.ts';

type Pair = MemoryDuplexPair<AgentMessage, ManagerMessage>;

const commitMs = 2;

/** One store, as if Raft kept it equal everywhere; any number of managers, of which one leads. */
export class TestCluster {
  readonly clock = new VirtualClock();
  readonly random = seededRandom(7);
  readonly store: MemoryStore;
  readonly hosts = new Map<string, TestHost>();
  readonly managers: ManagerPeer[] = [{ nodeId: 'm1', addr: 'm1:2377' }];
  /** Addresses of managers that answer nobody. */
  readonly silentManagers = new Set<string>();
  dispatcher: Dispatcher;
  broker: LogBroker;
  /** Address of the leader. */
  leader = 'm1:2377';
  commits = 0;
  #version = 1;
  readonly #limits: Partial<DispatcherLimits>;

  constructor(limits: Partial<DispatcherLimits> = {}) {
    this.#limits = limits;
    this.store = createStore({
      proposer: {
        propose: (changes, now) =>
          new Promise((resolve) => {
            const entry = this.store.encode(changes, now);
            this.clock.timer(commitMs, () => {
              const version = ++this.#version;
              this.commits += 1;
              resolve({ version, applied: this.store.apply(version, entry) });
            });
          }),
      },
      now: () => this.clock.now(),
    });
    this.dispatcher = this.#newDispatcher();
    this.broker = this.#newBroker();
  }

  async start(): Promise<void> {
    await this.change((tx) =>
      tx.create('cluster', {
        id: 'cluster',
        spec: defaultClusterSpec,
        rootCa: { certPem: '', keyPem: '', joinTokens: { worker: '', manager: '' } },
        removedNodes: {},
        nextRaftId: 2,
      }),
    );
    this.dispatcher.start();
  }

  change(build: Parameters<MemoryStore['transact']>[0]): Promise<unknown> {
    return this.clock.settle(this.store.transact(build));
  }

  /** A new leader at `addr`; the old one has stopped, or (without `clean`) just ceased to answer. */
  async elect(addr: string, { clean }: { clean: boolean }): Promise<void> {
    const before = this.dispatcher;
    if (clean) await this.clock.settle(before.stop());
    else this.silentManagers.add(this.leader);
    this.leader = addr;
    this.dispatcher = this.#newDispatcher();
    this.broker = this.#newBroker();
    if (!clean) await this.clock.settle(before.stop());
    this.dispatcher.start();
  }

  /** `known`: the node is in the store. */
  async addHost(nodeId: string, { known = false }: { readonly known?: boolean } = {}): Promise<TestHost> {
    if (!known) await this.change((tx) => tx.create('node', nodeDraft(nodeId)));
    const host = new TestHost(this, nodeId);
    this.hosts.set(nodeId, host);
    return host;
  }

  nodeState(nodeId: string): string | undefined {
    return this.store.view.get('node', nodeId)?.status.state;
  }

  taskState(taskId: string): number | undefined {
    return this.store.view.get('task', taskId)?.status.state;
  }

  #newDispatcher(): Dispatcher {
    const { store, clock, random } = this;
    return createDispatcher({
      store,
      clock,
      random,
      log: silentLog,
      managers: () => [...this.managers],
      limits: this.#limits,
    });
  }

  #newBroker(): LogBroker {
    const { store, clock, random, dispatcher } = this;
    return createLogBroker({ store, dispatcher, clock, random, log: silentLog });
  }
}

export class TestHost {
  readonly cluster: TestCluster;
  readonly nodeId: string;
  readonly executor: FakeExecutor;
  readonly disk = new MemoryTaskDisk();
  readonly roles: string[] = [];
  readonly seenManagers: (readonly ManagerPeer[])[] = [];
  readonly #pairs = new Set<Pair>();
  agent: Agent;
  /** On disk, as the node remembers it. */
  removed = false;
  /** Streams opened so far. */
  dials = 0;
  #stalled = false;

  constructor(cluster: TestCluster, nodeId: string) {
    const { clock, random } = cluster;
    this.cluster = cluster;
    this.nodeId = nodeId;
    this.executor = new FakeExecutor({
      clock,
      random,
      prepareMs: [20, 20],
      startMs: [10, 10],
      stopMs: [10, 10],
      networksMs: [5, 5],
    });
    this.agent = this.#newAgent();
  }

  async start(): Promise<void> {
    await this.cluster.clock.settle(this.agent.start());
  }

  /** Another run of the daemon on the same host. */
  async restart(): Promise<void> {
    this.agent = this.#newAgent();
    await this.start();
  }

  /** Cable pulled, or put back. */
  stall(stalled: boolean): void {
    this.#stalled = stalled;
    for (const pair of this.#pairs) pair.stall(stalled);
  }

  /** Every connection breaks, and can be made again. */
  reset(): void {
    for (const pair of this.#pairs) pair.cut();
  }

  #newAgent(): Agent {
    const { clock, random, managers } = this.cluster;
    return createAgent({
      nodeId: this.nodeId,
      addr: '10.0.0.1:2377',
      dialer: this.#dialer(),
      managers: [...managers],
      executor: this.executor,
      db: this.disk.open(),
      clock,
      random,
      log: silentLog,
      onRole: (role) => this.roles.push(role),
      onManagers: (peers) => this.seenManagers.push(peers),
      onRemoved: async () => {
        this.removed = true;
      },
      standing: this.removed ? 'removed' : 'member',
    });
  }

  #dialer(): Dialer {
    return { dial: (addr) => ({ openSession: () => this.#open(addr), close: () => {} }) as Partial<Peer> as Peer };
  }

  #open(addr: string): Pair['left'] {
    const { clock, dispatcher, leader, silentManagers } = this.cluster;
    this.dials += 1;
    const pair = memoryDuplex<AgentMessage, ManagerMessage>(clock, { delayMs: () => 1 });
    this.#pairs.add(pair);
    pair.stall(this.#stalled || silentManagers.has(addr));
    if (addr === leader) {
      dispatcher.accept(pair.right, { nodeId: this.nodeId, role: 'worker', clusterId: 'cluster' }, '10.0.0.9');
    } else if (!silentManagers.has(addr)) {
      pair.right.send({ kind: 'redirect', leader: { nodeId: leader, addr: leader } });
      pair.right.close();
    }
    return pair.left;
  }
}

export function nodeDraft(id: string): Draft<'node'> {
  return {
    id,
    spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    role: 'worker',
    status: { state: 'unknown', message: 'joining', addr: '', since: 0 },
  };
}

export function taskDraft(id: string, nodeId: string, over: Partial<Draft<'task'>> = {}): Draft<'task'> {
  return {
    id,
    serviceId: 'web',
    slot: 1,
    nodeId,
    spec: { ContainerSpec: { Image: 'nginx:1' } },
    specVersion: 1,
    serviceName: 'web',
    serviceLabels: {},
    endpoint: {},
    desired: TaskState.running,
    status: { state: TaskState.assigned, timestamp: 0, message: 'scheduler assigned task to node', err: '' },
    restarts: [],
    ...over,
  };
}

/** A stream to the dispatcher without an agent behind it: what a test sends, and what came back. */
export function rawSession(cluster: TestCluster, nodeId: string) {
  const pair = memoryDuplex<AgentMessage, ManagerMessage>(cluster.clock);
  const received: ManagerMessage[] = [];
  const closed: (Error | undefined)[] = [];
  pair.left.onMessage((message) => received.push(message));
  pair.left.onClose((error) => closed.push(error));
  cluster.dispatcher.accept(pair.right, { nodeId, role: 'worker', clusterId: 'cluster' }, '10.0.0.9');
  const hello = async () => {
    pair.left.send({ kind: 'hello', description: await new FakeExecutor(cluster).describe(), addr: '' });
    await cluster.clock.runUntilIdle();
  };
  const sets = () => received.flatMap((message) => (message.kind === 'assignments' ? [message.set] : []));
  return {
    ...pair,
    received,
    closed,
    hello,
    sets,
    refused: () => closed.find((error) => error instanceof ClusterError),
  };
}
