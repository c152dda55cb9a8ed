/**
 * A typed client of the Docker Engine API's swarm part. One instance talks to one daemon; every method is one request.
 * It promises nothing about retries: a failed call is reported once, as DaemonError or ConnectionError.
 * Ids may be full ids, exact names or unique id prefixes: the daemon resolves them.
 */
import type { PlanRequest } from '../model/control.ts';
import type { Forecast, ServiceExplanation, TaskExplanation } from '../model/explain.ts';
import type { ClusterSpec, ConfigSpec, NodeSpec, ServiceSpec } from '../model/spec.ts';
import { type Address, parseAddress } from './address.ts';
import { demultiplex, jsonLines, type LogFrame } from './streams.ts';
import { apiVersion, type Call, type Method, Transport } from './transport.ts';
import type {
  ApiConfig,
  ApiDistribution,
  ApiEvent,
  ApiInfo,
  ApiNetwork,
  ApiNode,
  ApiRevision,
  ApiSecret,
  ApiService,
  ApiSwarm,
  ApiTask,
  ApiVersion,
  CreateNetworkBody,
  InitBody,
  JoinBody,
  NewSecret,
} from './types.ts';

/** `{ name: ['web'] }`: values of one key are alternatives, keys add up. */
export type Filters = Readonly<Record<string, readonly string[]>>;

export interface LogOptions {
  readonly follow?: boolean;
  readonly timestamps?: boolean;
  readonly details?: boolean;
  readonly tail?: string;
  readonly since?: string;
}

export interface ServiceUpdateOptions {
  readonly version: number;
  readonly rollback?: boolean;
  readonly registryAuth?: string;
}

export type ClientOptions = { readonly socketPath: string } | { readonly host: string };

export function createClient(options: ClientOptions): Client {
  return new Client('host' in options ? parseAddress(options.host) : { kind: 'unix', path: options.socketPath });
}

const enc = encodeURIComponent;

export class Client {
  readonly #transport: Transport;

  constructor(address: Address) {
    this.#transport = new Transport(address);
  }

  get address(): Address {
    return this.#transport.address;
  }

  close(): void {
    this.#transport.close();
  }

  /** Throws ConnectionError when nobody listens. */
  async ping(): Promise<void> {
    await this.#transport.send('GET', '/_ping');
  }

  info(): Promise<ApiInfo> {
    return this.#json('GET', '/info');
  }

  version(): Promise<ApiVersion> {
    return this.#json('GET', '/version');
  }

  swarm(): Promise<ApiSwarm> {
    return this.#json('GET', '/swarm');
  }

  initSwarm(body: InitBody): Promise<string> {
    return this.#json('POST', '/swarm/init', { body });
  }

  async joinSwarm(body: JoinBody): Promise<void> {
    await this.#send('POST', '/swarm/join', { body });
  }

  async leaveSwarm(force: boolean): Promise<void> {
    await this.#send('POST', '/swarm/leave', { query: { force: force ? 1 : undefined } });
  }

  async updateSwarm(
    spec: ClusterSpec,
    options: { readonly version: number; readonly rotateWorkerToken?: boolean; readonly rotateManagerToken?: boolean },
  ): Promise<void> {
    const query = {
      version: options.version,
      rotateWorkerToken: options.rotateWorkerToken ?? false,
      rotateManagerToken: options.rotateManagerToken ?? false,
      rotateManagerUnlockKey: false,
    };
    await this.#send('POST', '/swarm/update', { query, body: spec });
  }

  nodes(filters?: Filters): Promise<ApiNode[]> {
    return this.#list('/nodes', filters);
  }

  node(id: string): Promise<ApiNode> {
    return this.#json('GET', `/nodes/${enc(id)}`);
  }

  async updateNode(id: string, version: number, spec: NodeSpec): Promise<void> {
    await this.#send('POST', `/nodes/${enc(id)}/update`, { query: { version }, body: spec });
  }

  async removeNode(id: string, force: boolean): Promise<void> {
    await this.#send('DELETE', `/nodes/${enc(id)}`, { query: { force: force ? 1 : undefined } });
  }

  services(filters?: Filters, options: { readonly status?: boolean } = {}): Promise<ApiService[]> {
    return this.#list('/services', filters, { status: options.status === true ? true : undefined });
  }

  service(id: string, options: { readonly insertDefaults?: boolean } = {}): Promise<ApiService> {
    return this.#json('GET', `/services/${enc(id)}`, { query: { insertDefaults: options.insertDefaults ?? false } });
  }

  createService(spec: ServiceSpec, registryAuth?: string): Promise<{ ID: string; Warnings?: string[] | null }> {
    return this.#json('POST', '/services/create', { body: spec, ...authHeader(registryAuth) });
  }

  updateService(id: string, spec: ServiceSpec, options: ServiceUpdateOptions): Promise<{ Warnings?: string[] | null }> {
    const query = {
      version: options.version,
      registryAuthFrom: 'spec',
      rollback: options.rollback === true ? 'previous' : undefined,
    };
    return this.#json('POST', `/services/${enc(id)}/update`, {
      query,
      body: spec,
      ...authHeader(options.registryAuth),
    });
  }

  /** The placement that a create would lead to, or with `id` an update; nothing is written. */
  dryRunService(spec: ServiceSpec, id?: string): Promise<{ Warnings?: string[] | null; Forecast: Forecast }> {
    const path = '/tscluster/services/dry-run';
    return this.#json('POST', path, { query: { service: id }, body: spec });
  }

  explainService(id: string): Promise<ServiceExplanation> {
    return this.#json('GET', `/tscluster/services/${enc(id)}/explain`);
  }

  explainTask(id: string): Promise<TaskExplanation> {
    return this.#json('GET', `/tscluster/tasks/${enc(id)}/explain`);
  }

  serviceHistory(id: string): Promise<ApiRevision[]> {
    return this.#json('GET', `/tscluster/services/${enc(id)}/history`);
  }

  rollbackService(
    id: string,
    options: { readonly version: number; readonly to: number },
  ): Promise<{ Warnings?: string[] | null }> {
    return this.#json('POST', `/tscluster/services/${enc(id)}/rollback`, { query: { ...options } });
  }

  async removeService(id: string): Promise<void> {
    await this.#send('DELETE', `/services/${enc(id)}`);
  }

  tasks(filters?: Filters, signal?: AbortSignal): Promise<ApiTask[]> {
    return this.#list('/tasks', filters, {}, signal);
  }

  task(id: string): Promise<ApiTask> {
    return this.#json('GET', `/tasks/${enc(id)}`);
  }

  secrets(filters?: Filters): Promise<ApiSecret[]> {
    return this.#list('/secrets', filters);
  }

  secret(id: string): Promise<ApiSecret> {
    return this.#json('GET', `/secrets/${enc(id)}`);
  }

  createSecret(body: NewSecret): Promise<{ ID: string }> {
    return this.#json('POST', '/secrets/create', { body });
  }

  async updateSecret(id: string, version: number, body: NewSecret): Promise<void> {
    await this.#send('POST', `/secrets/${enc(id)}/update`, { query: { version }, body });
  }

  async removeSecret(id: string): Promise<void> {
    await this.#send('DELETE', `/secrets/${enc(id)}`);
  }

  configs(filters?: Filters): Promise<ApiConfig[]> {
    return this.#list('/configs', filters);
  }

  config(id: string): Promise<ApiConfig> {
    return this.#json('GET', `/configs/${enc(id)}`);
  }

  createConfig(body: ConfigSpec): Promise<{ ID: string }> {
    return this.#json('POST', '/configs/create', { body });
  }

  async updateConfig(id: string, version: number, body: ConfigSpec): Promise<void> {
    await this.#send('POST', `/configs/${enc(id)}/update`, { query: { version }, body });
  }

  async removeConfig(id: string): Promise<void> {
    await this.#send('DELETE', `/configs/${enc(id)}`);
  }

  networks(filters?: Filters): Promise<ApiNetwork[]> {
    return this.#list('/networks', filters);
  }

  /** As services see it: `host` and `none` are networks, too. */
  network(id: string): Promise<ApiNetwork> {
    return this.#json('GET', `/networks/${enc(id)}`, { query: { scope: 'swarm' } });
  }

  /** With `verbose` the services and nodes that are on it. */
  inspectNetwork(id: string, options: { readonly verbose: boolean }): Promise<ApiNetwork> {
    return this.#json('GET', `/networks/${enc(id)}`, { query: { verbose: options.verbose ? true : undefined } });
  }

  pruneNetworks(filters?: Filters): Promise<{ NetworksDeleted?: readonly string[] | null }> {
    const given = filters !== undefined && Object.keys(filters).length > 0;
    return this.#json('POST', '/networks/prune', {
      query: { filters: given ? JSON.stringify(goFilters(filters)) : undefined },
    });
  }

  createNetwork(body: CreateNetworkBody): Promise<{ Id: string; Warning?: string }> {
    return this.#json('POST', '/networks/create', { body });
  }

  async removeNetwork(id: string): Promise<void> {
    await this.#send('DELETE', `/networks/${enc(id)}`);
  }

  /** Whether all of it would be taken, in this order. Changes nothing. Throws what the first refusal says. */
  async checkPlan(plan: PlanRequest): Promise<void> {
    await this.#send('POST', '/tscluster/plan/check', { body: plan });
  }

  /** Asks the registry, through the daemon, what a tag stands for. */
  distribution(reference: string, registryAuth?: string): Promise<ApiDistribution> {
    const path = `/distribution/${reference.split('/').map(enc).join('/')}/json`;
    return this.#json('GET', path, authHeader(registryAuth));
  }

  /** Log lines of a service or task, each one frame. */
  logs(kind: 'services' | 'tasks', id: string, options: LogOptions, signal?: AbortSignal): AsyncGenerator<LogFrame> {
    return demultiplex(this.rawLogs(kind, id, options, signal));
  }

  /** The undivided bytes, for services with a terminal. */
  rawLogs(kind: 'services' | 'tasks', id: string, options: LogOptions, signal?: AbortSignal): AsyncGenerator<Buffer> {
    const flag = (value: boolean | undefined) => (value === true ? 1 : undefined);
    const query = {
      stdout: 1,
      stderr: 1,
      tail: options.tail ?? 'all',
      follow: flag(options.follow),
      timestamps: flag(options.timestamps),
      details: flag(options.details),
      since: options.since,
    };
    return this.#transport.stream('GET', `/v${apiVersion}/${kind}/${enc(id)}/logs`, { query, signal });
  }

  async *events(filters: Filters, signal: AbortSignal): AsyncGenerator<ApiEvent> {
    const query = { filters: JSON.stringify(filters) };
    const chunks = this.#transport.stream('GET', `/v${apiVersion}/events`, { query, signal });
    for await (const event of jsonLines(chunks)) yield event as ApiEvent;
  }

  async #send(method: Method, path: string, call: Call = {}): Promise<void> {
    await this.#transport.send(method, `/v${apiVersion}${path}`, call);
  }

  async #json<T>(method: Method, path: string, call: Call = {}): Promise<T> {
    const { text } = await this.#transport.send(method, `/v${apiVersion}${path}`, call);
    return JSON.parse(text === '' ? '{}' : text) as T;
  }

  async #list<T>(path: string, filters: Filters | undefined, query = {}, signal?: AbortSignal): Promise<T[]> {
    const given = filters !== undefined && Object.keys(filters).length > 0;
    const call = { query: { ...query, filters: given ? JSON.stringify(goFilters(filters)) : undefined }, signal };
    return (await this.#json<T[] | null>('GET', path, call)) ?? [];
  }
}

/** Docker's own client sends `{"name":{"web":true}}`. */
function goFilters(filters: Filters): Record<string, Record<string, boolean>> {
  return Object.fromEntries(
    Object.entries(filters).map(([key, values]) => [key, Object.fromEntries(values.map((value) => [value, true]))]),
  );
}

function authHeader(registryAuth: string | undefined): Pick<Call, 'headers'> {
  return registryAuth === undefined ? {} : { headers: { 'X-Registry-Auth': registryAuth } };
}
