/** A node for the API's tests: a real store and control API, everything else made up. */
import type { FastifyInstance, InjectOptions } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import { silentLog } from '../../lib/log.ts';
import { seededRandom } from '../../lib/random.ts';
import { VirtualClock } from '../../lib/testing/virtual-clock.ts';
import { createControlApi } from '../../manager/controlapi/index.ts';
import { MemoryStore } from '../../manager/store/store.ts';
import type { LogLine, LogQuery } from '../../model/assignment.ts';
import type {
  ControlMethod,
  ControlRequest,
  InitRequest,
  JoinRequest,
  ManagerBackend,
  NodeBackend,
  NodeInfo,
  RaftMemberInfo,
} from '../../model/control.ts';
import { defaultClusterSpec } from '../../model/defaults.ts';
import type { Network, Node, Task } from '../../model/objects.ts';
import { TaskState } from '../../model/task-state.ts';
import { createApi } from '../index.ts';

export const selfId = 'n1aaaaaaaaaaaaaaaaaaaaaaa';

export class FakeNode implements NodeBackend {
  readonly clock = new VirtualClock();
  readonly store = new MemoryStore({ proposer: null, now: () => this.clock.now() });
  isManager = true;
  isFresh = true;
  state: NodeInfo['state'] = 'active';
  members: RaftMemberInfo[] = [
    { nodeId: selfId, raftId: 1, addr: '10.0.0.1:2377', leader: true, reachability: 'reachable' },
  ];
  followsForEver = false;
  onLogsLeft = () => {};
  /** Resolves when a client that followed logs has left. */
  readonly logsLeft = new Promise<void>((resolve) => {
    this.onLogsLeft = resolve;
  });
  commitListeners = 0;
  logLines: LogLine[] = [];
  readonly logQueries: LogQuery[] = [];
  readonly inits: InitRequest[] = [];
  readonly joins: JoinRequest[] = [];
  readonly leaves: boolean[] = [];
  readonly #backend = backendOf(this);

  manager(): ManagerBackend | undefined {
    return this.isManager ? this.#backend : undefined;
  }

  info(): NodeInfo {
    return {
      nodeId: this.state === 'inactive' ? '' : selfId,
      nodeAddr: '10.0.0.1',
      state: this.state,
      role: this.isManager ? 'manager' : 'worker',
      error: '',
      managers: [{ nodeId: selfId, addr: '10.0.0.1:2377' }],
      clusterId: 'cluster',
      hostname: 'host-1',
      version: '0.1.0',
      os: 'linux',
      architecture: 'x86_64',
      kernel: '6.1',
      cpus: 2,
      memoryBytes: 4 * 2 ** 30,
      dataDir: '/var/lib/tscluster',
      runtime: { name: 'containerd', version: '1.7', snapshotter: 'overlayfs' },
      containers: { running: 1, stopped: 2 },
      registryMirrors: [],
      insecureRegistries: ['localhost:5000'],
    };
  }

  async init(request: InitRequest) {
    this.inits.push(request);
    return { nodeId: selfId };
  }

  async join(request: JoinRequest) {
    this.joins.push(request);
    return { nodeId: selfId };
  }

  async leave(force: boolean) {
    this.leaves.push(force);
  }

  async resolveImage(reference: string) {
    if (!reference.startsWith('registry.test/')) throw new ClusterError('not_found', `No such image: ${reference}`);
    const digest = `sha256:${'a'.repeat(64)}`;
    const platforms = [{ architecture: 'amd64', os: 'linux' }];
    return { mediaType: 'application/vnd.oci.image.index.v1+json', digest, size: 10, platforms };
  }

  async addNode(id: string, overrides: Partial<Node> = {}) {
    const draft: Omit<Node, 'meta'> = {
      id,
      spec: { Labels: {}, Role: 'worker', Availability: 'active' },
      role: 'worker',
      description: {
        hostname: `host-${id.slice(0, 2)}`,
        platform: { architecture: 'x86_64', os: 'linux' },
        resources: { NanoCPUs: 2e9, MemoryBytes: 2 ** 32 },
        engine: { version: '0.1.0', labels: {}, plugins: [] },
      },
      status: { state: 'ready', message: '', addr: '10.0.0.9', since: 0 },
      ...overrides,
    };
    await this.store.transact((tx) => tx.create('node', draft));
  }

  async addTask(id: string, serviceId: string, overrides: Partial<Task> = {}) {
    const service = this.store.view.get('service', serviceId);
    if (service === undefined) throw new Error(`no service ${serviceId}`);
    const draft: Omit<Task, 'meta'> = {
      id,
      serviceId,
      slot: 1,
      nodeId: selfId,
      spec: service.spec.TaskTemplate,
      specVersion: service.specVersion,
      serviceName: service.spec.Name,
      serviceLabels: service.spec.Labels,
      endpoint: service.spec.EndpointSpec ?? {},
      desired: TaskState.running,
      status: { state: TaskState.running, timestamp: this.clock.now(), message: 'started', err: '' },
      restarts: [],
      ...overrides,
    };
    await this.store.transact((tx) => tx.create('task', draft));
  }

  /** A network as the allocator leaves it. */
  async addNetwork(id: string, overrides: Partial<Network> = {}) {
    const spec = { Name: id, Labels: {}, Driver: 'overlay' };
    const allocation = { vni: 4097, subnets: [{ subnet: '10.0.1.0/24', gateway: '10.0.1.1' }] };
    await this.store.transact((tx) => tx.create('network', { id, spec, allocation, ...overrides }));
  }

  async addCluster() {
    await this.store.transact((tx) =>
      tx.create('cluster', {
        id: 'cluster',
        spec: defaultClusterSpec,
        rootCa: { certPem: 'not a certificate', keyPem: '', joinTokens: { worker: 'worker-0', manager: 'manager-0' } },
        removedNodes: {},
        nextRaftId: 2,
      }),
    );
  }
}

function backendOf(node: FakeNode): ManagerBackend {
  let tokens = 0;
  const control = createControlApi({
    store: node.store,
    random: seededRandom(7),
    log: silentLog,
    makeJoinToken: () => `token-${++tokens}`,
    members: () => node.members,
  });
  return {
    view: node.store.view,
    call: <M extends ControlMethod>(method: M, request: ControlRequest<M>) => control.call(method, request),
    assertFresh() {
      if (!node.isFresh) throw new ClusterError('unavailable', 'The swarm does not have a leader.');
    },
    onCommit(handle) {
      node.commitListeners++;
      return node.store.subscribe(({ events }) => handle(events));
    },
    members: () => node.members,
    async *logs(_selector, query, signal) {
      node.logQueries.push(query);
      yield* node.logLines;
      if (!node.followsForEver) return;
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      node.onLogsLeft();
    },
  };
}

export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>> & readonly Readonly<Record<string, unknown>>[];
  readonly headers: Readonly<Record<string, unknown>>;
  readonly raw: Buffer;
}

export class TestApi {
  readonly node = new FakeNode();
  readonly app: FastifyInstance = createApi({
    node: this.node,
    clock: this.node.clock,
    log: silentLog,
    version: '0.1.0',
  });

  static async make(): Promise<TestApi> {
    const api = new TestApi();
    await api.node.addCluster();
    const manager = { spec: { Labels: {}, Role: 'manager', Availability: 'active' }, role: 'manager' } as const;
    await api.node.addNode(selfId, { ...manager, manager: { raftId: 1, addr: '10.0.0.1:2377' } });
    return api;
  }

  get(url: string): Promise<Answer> {
    return this.send({ method: 'GET', url });
  }

  post(url: string, payload?: object | string): Promise<Answer> {
    return this.send({ method: 'POST', url, ...(payload === undefined ? {} : { payload }) });
  }

  delete(url: string): Promise<Answer> {
    return this.send({ method: 'DELETE', url });
  }

  async send(options: InjectOptions): Promise<Answer> {
    const answer = await this.app.inject(options);
    const isJson = answer.headers['content-type'] === 'application/json' && answer.rawPayload.length > 0;
    const body = (isJson ? JSON.parse(answer.payload) : answer.payload) as Answer['body'];
    return { status: answer.statusCode, body, headers: answer.headers, raw: answer.rawPayload };
  }

  /** Creates a service and returns its id. */
  async service(spec: object): Promise<string> {
    const answer = await this.post('/services/create', spec);
    if (answer.status !== 201) throw new Error(JSON.stringify(answer.body));
    return String(answer.body['ID']);
  }
}

export function filters(value: object): string {
  return encodeURIComponent(JSON.stringify(value));
}

/** The smallest service that is accepted. */
export function web(more: object = {}): object {
  return { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'nginx:latest' } }, ...more };
}
