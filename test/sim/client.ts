/**
 * Users: they change services, configs and nodes through any manager, one after the other, and remember what was
 * acknowledged. An error that may mean "perhaps" makes the outcome unknown; an error that can only mean a bug ends the run.
 */
import { sleep } from '../../src/lib/clock.ts';
import { ClusterError, messageOf } from '../../src/lib/errors.ts';
import { between, type Random, seededRandom } from '../../src/lib/random.ts';
import type { ControlMethod, ControlRequest, ControlResponse, ManagerBackend } from '../../src/model/control.ts';
import type { Service } from '../../src/model/objects.ts';
import type { NodeRole, ServiceMode, ServiceSpec, TaskSpec } from '../../src/model/spec.ts';
import type { World } from './world.ts';

const patienceMs = 20_000;
const servicesMax = 4;
const networksMax = 4;
const replicasMax = 6;
const second = 1_000_000_000;

interface Known {
  /** The spec of the newest acknowledged write, unless something was tried after it. */
  certain: string | undefined;
  /** A removal was tried: it may be gone. */
  removing: boolean;
}

export class Client {
  readonly #world: World;
  readonly #random: Random;
  readonly #services = new Map<string, Known>();
  readonly #removed = new Set<string>();
  readonly #configs: string[] = [];
  #count = 0;
  #networkCount = 0;
  #active = false;
  #busy = false;
  acknowledged = 0;
  attempted = 0;

  constructor(world: World, seed: number) {
    this.#world = world;
    this.#random = seededRandom(seed * 8 + 3);
  }

  start(): void {
    this.#active = true;
    this.#later();
  }

  stop(): void {
    this.#active = false;
  }

  /** Nothing is under way. */
  get idle(): boolean {
    return !this.#busy;
  }

  /** What was acknowledged is there. */
  final(): void {
    const view = this.#world.leader()?.process?.store.view;
    if (view === undefined) return this.#world.fail('nobody leads');
    for (const name of this.#configs)
      if (view.configByName(name) === undefined) this.#world.fail(`acknowledged write lost: config ${name}`);
    for (const id of this.#removed)
      if (view.get('service', id) !== undefined) this.#world.fail(`acknowledged removal lost: service ${id}`);
    for (const [id, { certain, removing }] of this.#services) {
      const service = view.get('service', id);
      if (service === undefined && !removing) this.#world.fail(`acknowledged write lost: service ${id}`);
      if (service !== undefined && certain !== undefined && fingerprint(service.spec) !== certain) {
        this.#world.fail(
          `acknowledged write lost: service ${id} is ${fingerprint(service.spec)} instead of ${certain}`,
        );
      }
    }
  }

  async createService(replicas: number): Promise<void> {
    const backend = this.#backend();
    if (backend === undefined) return;
    const spec = this.#newSpec(backend, replicas);
    const answer = await this.#call(backend, 'service.create', { spec });
    if (answer === undefined) return;
    this.#services.set(answer.id, { certain: fingerprint(spec), removing: false });
    if (backend.view.get('service', answer.id) === undefined)
      this.#world.fail(`service ${answer.id} does not show where it was created`);
    this.#world.faults.acknowledged();
  }

  async createNetwork(): Promise<void> {
    const backend = this.#backend();
    if (backend === undefined) return;
    const internal = between(this.#random, 0, 3) === 0 ? { Internal: true } : {};
    const spec = { Name: `network-${this.#networkCount++}`, Labels: {}, Driver: 'overlay', ...internal };
    await this.#call(backend, 'network.create', { spec });
  }

  /** Refused while a service uses it. */
  async #removeNetwork(backend: ManagerBackend): Promise<void> {
    const networks = [...backend.view.list('network')];
    const network = networks[between(this.#random, 0, Math.max(0, networks.length - 1))];
    if (network !== undefined) await this.#call(backend, 'network.remove', { id: network.id });
  }

  /** As `node update --role`, at the leader; nobody minds when it is refused. */
  async setRole(host: string, Role: NodeRole): Promise<boolean> {
    const backend = this.#world.leader()?.process?.manager.backend;
    const node = backend?.view.get('node', host);
    if (backend === undefined || node === undefined || node.spec.Role === Role) return false;
    const { id, meta, spec } = node;
    const request = { id, version: meta.version, spec: { ...spec, Role } };
    return (await this.#call(backend, 'node.update', request)) !== undefined;
  }

  /** Again until the wish is known. */
  async wishRole(host: string, role: NodeRole): Promise<void> {
    for (;;) {
      const node = this.#world.leader()?.process?.store.view.get('node', host);
      if (node?.spec.Role === role || (await this.setRole(host, role))) return;
      await sleep(this.#world.clock, 200);
    }
  }

  /** As `node rm --force`; again until it is acknowledged. */
  async removeNode(id: string): Promise<void> {
    for (;;) {
      const backend = this.#world.leader()?.process?.manager.backend;
      if (backend !== undefined && backend.view.get('node', id) === undefined) return;
      if (backend !== undefined) await this.#call(backend, 'node.remove', { id, force: true });
      await sleep(this.#world.clock, 200);
    }
  }

  /** Every drained node back to work; tried until it is so. */
  activateNodes(): void {
    this.#world.run(this.#activate());
    this.#world.clock.timer(1_000, () => this.activateNodes());
  }

  async #activate(): Promise<void> {
    for (const { name } of this.#world.managers) await this.setRole(name, 'manager');
    const backend = this.#world.leader()?.process?.manager.backend;
    for (const node of [...(backend?.view.list('node') ?? [])]) {
      if (backend === undefined || node.spec.Availability === 'active' || !node.id.startsWith('a')) continue;
      const { id, meta, spec } = node;
      await this.#call(backend, 'node.update', {
        id,
        version: meta.version,
        spec: { ...spec, Availability: 'active' },
      });
    }
  }

  #later(): void {
    this.#world.clock.timer(between(this.#random, 100, 1_500), () => {
      if (!this.#active) return;
      if (this.#busy) return this.#later();
      this.#busy = true;
      void this.#act()
        .catch((error) => this.#world.fail(`client: ${messageOf(error)}`))
        .finally(() => {
          this.#busy = false;
          this.#later();
        });
    });
  }

  async #act(): Promise<void> {
    const backend = this.#backend();
    if (backend === undefined) return;
    const services = [...backend.view.list('service')];
    const service = services[between(this.#random, 0, Math.max(0, services.length - 1))];
    const dice = between(this.#random, 0, 99);
    if (dice < 34) return this.#createConfig(backend);
    if (dice < 38 && backend.view.count('network') < networksMax) return this.createNetwork();
    if (dice < 40) return this.#removeNetwork(backend);
    if (service === undefined || (dice < 52 && services.length < servicesMax))
      return this.createService(between(this.#random, 1, replicasMax));
    if (dice < 72) return this.#scale(backend, service);
    if (dice < 88) return this.#update(backend, service);
    if (dice < 94) return this.#remove(backend, service);
    return this.#setAvailability(backend);
  }

  async #createConfig(backend: ManagerBackend): Promise<void> {
    const Name = `config-${this.#count++}`;
    const answer = await this.#call(backend, 'config.create', { spec: { Name, Labels: {}, Data: 'c2ltdWxhdGVk' } });
    if (answer === undefined) return;
    this.#configs.push(Name);
    if (backend.view.configByName(Name) === undefined) this.#world.fail(`${Name} does not show where it was created`);
  }

  #scale(backend: ManagerBackend, service: Service): Promise<void> {
    // A published port is taken once per node.
    const isHost = service.spec.EndpointSpec?.Ports?.[0]?.PublishMode === 'host';
    const most = isHost ? this.#world.agents.length : replicasMax;
    // Global services cannot be scaled, and to scale a job is to run it again: both are changed like any other.
    if (service.spec.Mode.Replicated === undefined) return this.#update(backend, service);
    return this.#change(backend, service, {
      ...service.spec,
      Mode: { Replicated: { Replicas: between(this.#random, 0, most) } },
    });
  }

  #update(backend: ManagerBackend, service: Service): Promise<void> {
    const { ContainerSpec, ...rest } = service.spec.TaskTemplate;
    const Env = [`ROUND=${this.#count++}`];
    const again = between(this.#random, 0, 3) === 0;
    const reach = again && service.spec.EndpointSpec?.Ports?.[0]?.PublishMode !== 'host' ? this.#newReach(backend) : {};
    return this.#change(backend, service, {
      ...service.spec,
      TaskTemplate: { ...rest, ...reach.template, ContainerSpec: { ...ContainerSpec, Env } },
      ...reach.service,
    });
  }

  async #change(backend: ManagerBackend, service: Service, spec: ServiceSpec): Promise<void> {
    const known = this.#known(service.id);
    known.certain = undefined;
    const answer = await this.#call(backend, 'service.update', { id: service.id, version: service.meta.version, spec });
    if (answer === undefined) return;
    known.certain = fingerprint(spec);
    this.#world.faults.acknowledged();
  }

  async #remove(backend: ManagerBackend, service: Service): Promise<void> {
    this.#known(service.id).removing = true;
    const answer = await this.#call(backend, 'service.remove', { id: service.id });
    if (answer !== undefined) this.#removed.add(service.id);
  }

  async #setAvailability(backend: ManagerBackend): Promise<void> {
    const workers = [...backend.view.list('node')].filter((node) => node.id.startsWith('a'));
    const drained = workers.filter((node) => node.spec.Availability === 'drain');
    const node = drained[0] ?? workers[between(this.#random, 0, workers.length - 1)];
    if (node === undefined) return;
    const Availability = drained.length > 0 ? 'active' : 'drain';
    await this.#call(backend, 'node.update', {
      id: node.id,
      version: node.meta.version,
      spec: { ...node.spec, Availability },
    });
  }

  #known(id: string): Known {
    const known = this.#services.get(id) ?? { certain: undefined, removing: true }; // its creation was never acknowledged
    this.#services.set(id, known);
    return known;
  }

  #newSpec(backend: ManagerBackend, replicas: number): ServiceSpec {
    const number = this.#count++;
    const config = [...backend.view.list('config')].at(-1);
    const File = { Name: '/config', UID: '0', GID: '0', Mode: 0o444 };
    const uses = config !== undefined && between(this.#random, 0, 1) === 0;
    const publishes = between(this.#random, 0, 3) === 0 && replicas <= 3;
    const mode: ServiceMode = number < 2 ? { Replicated: { Replicas: replicas } } : this.#newMode(replicas);
    const order = between(this.#random, 0, 2) === 0 ? 'start-first' : 'stop-first';
    const reach = this.#newReach(backend);
    const isJob = mode.ReplicatedJob !== undefined || mode.GlobalJob !== undefined;
    const movesLate = mode.Replicated !== undefined && between(this.#random, 0, 4) === 0;
    return {
      Name: `service-${number}`,
      Labels: {
        ...(movesLate ? { 'tscluster.failover-delay': '8s' } : {}),
        ...(between(this.#random, 0, 3) === 0 ? { 'tscluster.drain-delay': '0s' } : {}),
      },
      TaskTemplate: {
        ...reach.template,
        ContainerSpec: {
          Image: 'registry.example/app:1',
          Env: ['ROUND=0'],
          ...(uses ? { Configs: [{ File, ConfigID: config.id, ConfigName: config.spec.Name }] } : {}),
        },
        RestartPolicy: { Condition: 'any', Delay: between(this.#random, 0, 2) * second },
      },
      Mode: mode,
      ...(isJob ? {} : { UpdateConfig: { Parallelism: between(this.#random, 0, 2), Order: order } }),
      ...(publishes && !isJob && order === 'stop-first'
        ? {
            EndpointSpec: {
              Ports: [{ TargetPort: 80, PublishedPort: 8000 + number, PublishMode: 'host', Protocol: 'tcp' }],
            },
          }
        : isJob
          ? {}
          : reach.service),
    };
  }

  /** Networks, and a port that all nodes answer. */
  #newReach(backend: ManagerBackend): {
    readonly template?: Pick<TaskSpec, 'Networks'>;
    readonly service?: Pick<ServiceSpec, 'EndpointSpec'>;
  } {
    const networks = [...backend.view.list('network')].filter(() => between(this.#random, 0, 2) === 0);
    const dice = between(this.#random, 0, 5);
    const PublishedPort = dice === 0 ? 9_000 + this.#count++ : 0;
    const port = { TargetPort: 80, Protocol: 'tcp', PublishMode: 'ingress' };
    const Networks = networks.map(({ id }) => ({ Target: id, Aliases: [`alias-${dice}`] }));
    return {
      template: { Networks },
      service: {
        EndpointSpec:
          dice > 3 ? { Mode: 'dnsrr' } : { Mode: 'vip', ...(dice < 2 ? { Ports: [{ ...port, PublishedPort }] } : {}) },
      },
    };
  }

  #newMode(replicas: number): ServiceMode {
    const dice = between(this.#random, 0, 9);
    if (dice < 6) return { Replicated: { Replicas: replicas } };
    if (dice < 8) return { Global: {} };
    if (dice < 9)
      return { ReplicatedJob: { MaxConcurrent: between(this.#random, 1, 3), TotalCompletions: replicas + 1 } };
    return { GlobalJob: {} };
  }

  #backend(): ManagerBackend | undefined {
    const alive = this.#world.managers.flatMap(({ process }) => process ?? []);
    const process = alive[between(this.#random, 0, Math.max(0, alive.length - 1))];
    return process?.clock.frozen === false ? process.manager.backend : undefined;
  }

  /** Undefined: the outcome is unknown, or the request was refused. */
  #call<M extends ControlMethod>(
    backend: ManagerBackend,
    method: M,
    request: ControlRequest<M>,
  ): Promise<ControlResponse<M> | undefined> {
    this.attempted += 1;
    const { clock } = this.#world;
    return new Promise((resolve) => {
      const cancel = clock.timer(patienceMs, () => finish('no answer'));
      const finish = (outcome: string, response?: ControlResponse<M>) => {
        cancel();
        this.#world.trace(`client ${method}: ${outcome}`);
        resolve(response);
      };
      backend.call(method, request).then(
        (response) => {
          this.acknowledged += 1;
          finish('acknowledged', response);
        },
        (error: unknown) => {
          if (!(error instanceof ClusterError) || error.kind === 'internal')
            this.#world.fail(`${method} says ${error instanceof Error ? error.stack : String(error)}`);
          finish(messageOf(error));
        },
      );
    });
  }
}

function fingerprint(spec: ServiceSpec): string {
  return JSON.stringify([spec.Name, spec.Mode, spec.TaskTemplate.ContainerSpec.Env]);
}
