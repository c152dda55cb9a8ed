/**
 * The node's network driver. Owns what is on disk (a record per task, the managers' last word), the namespaces of tasks and the choice
 * of their gateway addresses; everything else in the kernel is the planes' (`planes.ts`), which are called for one change at a time.
 * State is written before the kernel is touched; a full comparison runs at the start, every minute, and after errors.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cancel, Clock } from '../../lib/clock.ts';
import { deferred } from '../../lib/deferred.ts';
import { ClusterError, messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Random } from '../../lib/random.ts';
import { addressAt, contains, parseAddress, parseBlock } from '../../model/ip.ts';
import { emptyNetworkState, type NetworkState, type SelfRecord } from '../../model/network.ts';
import type { NetworkAddresses, NetworkProblem } from '../../model/objects.ts';
import type { HostPort } from '../../model/ports.ts';
import { createNamesPlane } from './dns/index.ts';
import { withNumbers } from './host/hold-port.ts';
import { createHostPlane } from './host/index.ts';
import { addAllNetns, addNetns, listNetns, netnsPath, removeNetns } from './netns.ts';
import { createOverlayPlane } from './overlay/index.ts';
import {
  allFailed,
  type Desired,
  type Failures,
  failuresOf,
  type Plane,
  type SandboxRecord,
  without,
} from './planes.ts';
import type { NetworkDriver, Sandbox, SandboxRequest } from './port.ts';
import { SandboxRecords, StateFile, type StoredSandbox, type TaskFilePaths } from './records.ts';
import { type HostFiles, taskFiles } from './task-files.ts';

/** Host and overlay networks first, names last: a name should lead to something. */
export interface Planes {
  readonly host: Plane;
  readonly overlay: Plane;
  readonly names: Plane;
}

export interface NetworkDriverOptions {
  readonly stateDir: string;
  /** Distinguishes several daemons on one machine: prefix of namespaces. Letters, digits, `-`, `_` and `.`. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Starts the names process; default: this installation's. */
  readonly namesCommand?: readonly string[];
}

const fullSyncEveryMs = 60_000;
const retryMinMs = 1_000;
const retryMaxMs = 60_000;
const problemsMax = 100;
const problemLengthMax = 500;

/** So many containers share the programs that are started for them; the first of them waits for the last. */
const attachesAtATime = 8;

interface Attach {
  readonly request: SandboxRequest;
  readonly self: SelfRecord | undefined;
  readonly signal: AbortSignal;
  readonly resolve: (sandbox: Sandbox) => void;
  readonly reject: (error: unknown) => void;
}

interface PendingSync {
  full: boolean;
  readonly done: Promise<void>;
}

export function createNetworkDriver(options: NetworkDriverOptions): NetworkDriver {
  const { stateDir, prefix, clock, random, log, namesCommand } = options;
  const names = { stateDir: join(stateDir, 'names'), clock, random, log: log.part('names') };
  return composeDriver(options, (again) => ({
    host: createHostPlane({ clock, log: log.part('host'), again }),
    overlay: createOverlayPlane({ prefix, clock, log: log.part('overlay'), again }),
    names: createNamesPlane({ ...names, again, ...(namesCommand === undefined ? {} : { command: namesCommand }) }),
  }));
}

/** `again`: something may have changed for the better, a full comparison is worth it. */
export function composeDriver(options: NetworkDriverOptions, planes: (again: () => void) => Planes): NetworkDriver {
  return new Driver(options, planes);
}

class Driver implements NetworkDriver {
  readonly #options: NetworkDriverOptions;
  readonly #parts: Planes;
  readonly #records: SandboxRecords;
  readonly #stateFile: StateFile;
  readonly #sandboxes = new Map<string, StoredSandbox>();
  #state: NetworkState = emptyNetworkState;
  #inPlace: NetworkState | undefined;
  #behind = false;
  #lastGateway: string | undefined;
  #problems: readonly NetworkProblem[] = [];
  readonly #problemHandlers = new Set<(problems: readonly NetworkProblem[]) => void>();
  /** Changes of the kernel, one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  /** Attach and detach of one task, one after the other. */
  readonly #perTask = new Map<string, Promise<unknown>>();
  readonly #attaches: Attach[] = [];
  /** Attaches that wait for the managers' word, by task. */
  readonly #waiting = new Map<string, { check: () => void; abort: (reason: ClusterError) => void }>();
  #pending: PendingSync | undefined;
  #retryMs = retryMinMs;
  #cancelRetry: Cancel | undefined;
  #cancelPeriod: Cancel | undefined;
  #closed = false;

  constructor(options: NetworkDriverOptions, planes: (again: () => void) => Planes) {
    this.#options = options;
    this.#parts = planes(() => void this.#requestSync(true));
    this.#records = new SandboxRecords(options.stateDir);
    this.#stateFile = new StateFile(options.stateDir, options.clock, options.log);
  }

  async start(): Promise<void> {
    for (const record of await this.#records.load()) this.#sandboxes.set(record.taskId, record);
    this.#lastGateway = await this.#records.lastGateway();
    this.#state = await this.#stateFile.load();
    await this.#requestSync(true);
    this.#schedulePeriod();
  }

  attach(request: SandboxRequest, signal: AbortSignal): Promise<Sandbox> {
    return this.#serially(request.taskId, async () => {
      if (request.mode === 'host') return this.#attachHost(request);
      const self = request.mode === 'own' ? await this.#known(request, signal) : undefined;
      return this.#attachSoon({ request, self, signal });
    });
  }

  detach(taskId: string): Promise<void> {
    this.#waiting.get(taskId)?.abort(new ClusterError('cancelled', `task ${taskId} is removed`));
    return this.#serially(taskId, async () => {
      const record = this.#sandboxes.get(taskId);
      if (record === undefined) return;
      if (record.mode === 'host') return this.#forget(taskId);
      await this.#exclusively(() => this.#detach(record));
      void this.#requestSync(false);
    });
  }

  async list(): Promise<readonly string[]> {
    return [...this.#sandboxes.keys()];
  }

  async apply(state: NetworkState): Promise<readonly NetworkProblem[]> {
    this.#state = state;
    this.#stateFile.save(state);
    for (const waiter of [...this.#waiting.values()]) waiter.check();
    await this.#requestSync(false);
    return this.#problems;
  }

  inPlace(): NetworkState | undefined {
    return this.#inPlace;
  }

  onProblems(handle: (problems: readonly NetworkProblem[]) => void): void {
    this.#problemHandlers.add(handle);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelPeriod?.();
    this.#cancelRetry?.();
    for (const waiter of [...this.#waiting.values()]) waiter.abort(closing());
    await this.#queue;
    await this.#stateFile.close();
    for (const plane of this.#planes()) await plane.close();
  }

  /** Usable again afterwards: a node that leaves may join another cluster. */
  async destroy(): Promise<void> {
    for (const waiter of [...this.#waiting.values()]) waiter.abort(closing());
    this.#cancelRetry?.();
    await this.#exclusively(async () => {
      for (const record of this.#desired().sandboxes.values()) await this.#unwire(record);
      for (const plane of this.#planes().toReversed()) await plane.destroy();
      this.#sandboxes.clear();
      this.#state = emptyNetworkState;
      this.#inPlace = undefined;
      this.#lastGateway = undefined;
      await this.#collectNamespaces();
      await this.#records.clear();
      await this.#stateFile.clear();
      this.#report([], false);
    });
  }

  /** The record is kept by the file alone; names and addresses are the host's. */
  async #attachHost(request: SandboxRequest): Promise<Sandbox> {
    const { taskId } = request;
    const record = { taskId, mode: 'host' } as const;
    await this.#records.save(record);
    this.#sandboxes.set(taskId, record);
    const host = { hosts: await readHostFile('/etc/hosts'), resolvConf: await readHostFile('/etc/resolv.conf') };
    return { taskId, netnsPath: '', ports: [], ...(await this.#writeFiles(request, host)) };
  }

  /** Whoever comes while the kernel is being changed is served together with the others who wait. */
  #attachSoon(attach: Omit<Attach, 'resolve' | 'reject'>): Promise<Sandbox> {
    const { promise, resolve, reject } = deferred<Sandbox>();
    this.#attaches.push({ ...attach, resolve, reject });
    if (this.#attaches.length === 1) void this.#exclusively(() => this.#attachWaiting());
    return promise;
  }

  async #attachWaiting(): Promise<void> {
    const turn = this.#attaches.splice(0, attachesAtATime);
    if (this.#attaches.length > 0) void this.#exclusively(() => this.#attachWaiting());
    const opened: { readonly attach: Attach; readonly record: SandboxRecord }[] = [];
    for (const attach of turn) {
      await this.#open(attach).then((record) => opened.push({ attach, record }), attach.reject);
    }
    const failed = new Map(await this.#connect(opened.map(({ record }) => record)));
    const host = { hosts: '', resolvConf: await readHostFile('/etc/resolv.conf') };
    await Promise.all(
      opened.map(async ({ attach, record }) => {
        if (failed.has(record.taskId)) return;
        await this.#writeFiles(attach.request, host, record.gateway).then(
          (paths) => attach.resolve(sandboxOf(record, paths)),
          (error: unknown) => failed.set(record.taskId, error),
        );
      }),
    );
    for (const { attach, record } of opened) {
      if (!failed.has(record.taskId)) continue;
      await this.#detach(record).catch((error: unknown) => this.#warn(record.taskId, error));
      attach.reject(failed.get(record.taskId));
    }
  }

  /** The kernel's part of them, all at once. */
  async #connect(records: readonly SandboxRecord[]): Promise<Failures> {
    try {
      if (this.#lastGateway !== undefined) await this.#records.saveLastGateway(this.#lastGateway);
      const unnamed = await this.#addNamespaces(records);
      const broken = records.filter(({ taskId }) => unnamed.has(taskId));
      const wirable = records.filter(({ taskId }) => !unnamed.has(taskId));
      return new Map([...unnamed, ...(await this.#wire(wirable, without(broken, this.#desired())))]);
    } catch (error) {
      return allFailed(records, error);
    }
  }

  /** The record on disk. */
  async #open({ request, self, signal }: Attach): Promise<SandboxRecord> {
    if (signal.aborted) throw cancelled(signal.reason);
    if (this.#closed) throw closing();
    const existing = this.#sandboxes.get(request.taskId);
    if (existing !== undefined && (existing.mode === 'host' || !sameRequest(existing, request, self))) {
      if (existing.mode !== 'host') await this.#detach(existing);
      this.#sandboxes.delete(request.taskId);
    }
    return this.#desired().sandboxes.get(request.taskId) ?? (await this.#record(request, self));
  }

  /** Of those whose plane does not make it on the way. */
  async #addNamespaces(records: readonly SandboxRecord[]): Promise<Failures> {
    const needed = records.filter(({ mode, attachments }) => mode === 'none' || attachments.length > 0);
    try {
      await addAllNetns(needed.map(({ netns }) => netns));
      return new Map();
    } catch {
      return failuresOf(needed, ({ netns }) => addNetns(netns));
    }
  }

  async #record(request: SandboxRequest, self: SelfRecord | undefined): Promise<SandboxRecord> {
    const { taskId, attachments, hostPorts, dns } = request;
    const gateway = self === undefined ? undefined : this.#chooseGateway(self.gatewaySubnet);
    const record: SandboxRecord = {
      taskId,
      mode: self === undefined ? 'none' : 'own',
      netns: this.#namespace(taskId),
      ...(gateway === undefined ? {} : { gateway }),
      attachments: self === undefined ? [] : attachments,
      hostPorts: self === undefined ? [] : await withNumbers(hostPorts, this.#hostPorts()),
      nameservers: dns.nameservers,
    };
    await this.#records.save(record);
    this.#sandboxes.set(taskId, record);
    this.#lastGateway = gateway ?? this.#lastGateway;
    return record;
  }

  /** Of all containers here: some wait for the kernel, and hold theirs not yet. */
  #hostPorts(): readonly HostPort[] {
    return [...this.#sandboxes.values()].flatMap((record) => (record.mode === 'host' ? [] : record.hostPorts));
  }

  #chooseGateway(subnet: string): string {
    const records = [...this.#sandboxes.values()];
    const taken = new Set(
      records.flatMap((record) => (record.mode === 'own' && record.gateway !== undefined ? [record.gateway] : [])),
    );
    const address = nextAddress(subnet, taken, this.#lastGateway);
    if (address !== undefined) return address;
    throw new ClusterError(
      'exhausted',
      `this node has no address left for another container: all of its subnet ${subnet} are in use (${taken.size})`,
    );
  }

  async #wire(records: readonly SandboxRecord[], desired: Desired): Promise<Failures> {
    if (records.length === 0) return new Map();
    const results = await Promise.all(this.#planes().map((plane) => plane.wire(records, desired)));
    return new Map(results.toReversed().flatMap((failed) => [...failed]));
  }

  /** Whatever can not be taken away now is garbage for the next full sync. */
  async #unwire(record: SandboxRecord): Promise<void> {
    const desired = this.#desired();
    for (const plane of this.#planes().toReversed()) {
      await plane.unwire(record, desired).catch((error: unknown) => {
        this.#warn(record.taskId, error);
        this.#scheduleRetry();
      });
    }
    await removeNetns([record.netns]);
  }

  #warn(task: string, error: unknown): void {
    this.#options.log.warn('taking away the network of a task', { task, error: messageOf(error) });
  }

  async #detach(record: SandboxRecord): Promise<void> {
    await this.#unwire(record);
    await this.#forget(record.taskId);
  }

  async #forget(taskId: string): Promise<void> {
    this.#sandboxes.delete(taskId);
    await this.#records.remove(taskId);
  }

  #writeFiles(request: SandboxRequest, host: HostFiles, gateway?: string): Promise<TaskFilePaths> {
    return this.#records.writeFiles(request.taskId, taskFiles(request, host, gateway));
  }

  /** Resolves once this node has its place and the task's networks are known here. */
  #known(request: SandboxRequest, signal: AbortSignal): Promise<SelfRecord> {
    const look = () => {
      const { self, networks } = this.#state;
      return request.attachments.every(({ networkId }) => networks.has(networkId)) ? self : undefined;
    };
    const now = look();
    if (now !== undefined) return Promise.resolve(now);
    if (this.#closed) return Promise.reject(closing());
    return new Promise((resolve, reject) => {
      const finish = (end: () => void) => {
        signal.removeEventListener('abort', onAbort);
        this.#waiting.delete(request.taskId);
        end();
      };
      const abort = (reason: ClusterError) => finish(() => reject(reason));
      const onAbort = () => abort(cancelled(signal.reason));
      const check = () => {
        const self = look();
        if (self !== undefined) finish(() => resolve(self));
      };
      if (signal.aborted) return reject(cancelled(signal.reason));
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.set(request.taskId, { check, abort });
    });
  }

  /** One that waits already serves everybody who comes before it begins. */
  #requestSync(full: boolean): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#pending !== undefined) {
      this.#pending.full ||= full;
      return this.#pending.done;
    }
    const done = this.#exclusively(() => {
      const wanted = this.#pending?.full ?? full;
      this.#pending = undefined;
      return this.#sync(wanted);
    });
    this.#pending = { full, done };
    return done;
  }

  async #sync(full: boolean): Promise<void> {
    const { host, overlay, names } = this.#parts;
    const found: NetworkProblem[] = [];
    let failed = false;
    const attempt = async (what: string, work: () => Promise<readonly NetworkProblem[]>) => {
      try {
        found.push(...(await work()));
      } catch (error) {
        failed = true;
        this.#options.log.warn(`bringing the ${what} up to date`, { error: messageOf(error) });
        found.push({ message: `${what}: ${messageOf(error)}` });
      }
    };
    if (full) await attempt('namespaces of tasks', () => this.#syncNamespaces());
    const desired = this.#desired();
    await Promise.all([
      attempt("host's network", () => host.sync(desired, { full })),
      attempt('overlay networks', () => overlay.sync(desired, { full })),
    ]);
    await attempt('names', () => names.sync(desired, { full }));
    const isBehind = failed || this.#planes().some((plane) => plane.isBehind === true);
    const caughtUp = !isBehind && this.#behind;
    this.#behind = isBehind;
    if (!isBehind) this.#inPlace = desired.state;
    this.#report(found, caughtUp);
    if (failed) return this.#scheduleRetry();
    this.#retryMs = retryMinMs;
  }

  /** After a restart of the host the namespaces of all records are gone. */
  async #syncNamespaces(): Promise<readonly NetworkProblem[]> {
    await this.#collectNamespaces();
    for (const record of this.#desired().sandboxes.values()) await addNetns(record.netns);
    return [];
  }

  /** Namespaces of tasks nobody knows, and the plain files that a kill inside `ip netns add` leaves. Task ids have no `-`. */
  async #collectNamespaces(): Promise<void> {
    const begin = `${this.#options.prefix}-`;
    const { names, broken } = await listNetns(begin);
    const wanted = new Set([...this.#desired().sandboxes.values()].map(({ netns }) => netns));
    const ours = (name: string) => !name.slice(begin.length).includes('-') && !wanted.has(name);
    const garbage = [...names, ...broken].filter(ours);
    if (garbage.length > 0) await removeNetns(garbage);
  }

  #report(found: readonly NetworkProblem[], caughtUp: boolean): void {
    const problems = found
      .slice(0, problemsMax)
      .map((problem) => ({ ...problem, message: problem.message.slice(0, problemLengthMax) }));
    if (!caughtUp && JSON.stringify(problems) === JSON.stringify(this.#problems)) return;
    this.#problems = problems;
    for (const handle of this.#problemHandlers) handle(problems);
  }

  #scheduleRetry(): void {
    if (this.#closed || this.#cancelRetry !== undefined) return;
    this.#cancelRetry = this.#options.clock.timer(this.#retryMs, () => {
      this.#cancelRetry = undefined;
      void this.#requestSync(true);
    });
    this.#retryMs = Math.min(this.#retryMs * 2, retryMaxMs);
  }

  #schedulePeriod(): void {
    if (this.#closed) return;
    this.#cancelPeriod = this.#options.clock.timer(fullSyncEveryMs, () => {
      void this.#requestSync(true).then(() => this.#schedulePeriod());
    });
  }

  #desired(): Desired {
    const sandboxes = new Map<string, SandboxRecord>();
    for (const [taskId, record] of this.#sandboxes) if (record.mode !== 'host') sandboxes.set(taskId, record);
    return { sandboxes, state: this.#state };
  }

  #planes(): readonly Plane[] {
    const { host, overlay, names } = this.#parts;
    return [host, overlay, names];
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#queue.then(work);
    this.#queue = next.catch(() => {});
    return next;
  }

  #serially<T>(taskId: string, work: () => Promise<T>): Promise<T> {
    const next = (this.#perTask.get(taskId) ?? Promise.resolve()).then(work);
    const settled = next.then(
      () => {},
      () => {},
    );
    this.#perTask.set(taskId, settled);
    void settled.then(() => {
      if (this.#perTask.get(taskId) === settled) this.#perTask.delete(taskId);
    });
    return next;
  }

  #namespace(taskId: string): string {
    return `${this.#options.prefix}-${taskId}`;
  }
}

function readHostFile(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}

/**
 * The next free address behind `last`, so that a freed one rests as long as possible: connection tracking may still know it. The first
 * address of the subnet is the node's own; network and broadcast address are nobody's.
 */
export function nextAddress(subnet: string, taken: ReadonlySet<string>, last: string | undefined): string | undefined {
  const block = parseBlock(subnet);
  if (block === undefined) throw new ClusterError('internal', `invalid gateway subnet "${subnet}"`);
  const firstAt = 2;
  const usable = Number(block.size) - 3;
  const value = last !== undefined && contains(block, last) ? parseAddress(last)?.value : undefined;
  const start = value === undefined ? 0 : Math.max(0, Number(value - block.base) - firstAt + 1);
  for (let step = 0; step < usable; step++) {
    const address = addressAt(block, BigInt(firstAt + ((start + step) % usable)));
    if (!taken.has(address)) return address;
  }
  return undefined;
}

/** True when what is on disk is what is asked for, also after the node got another place. */
function sameRequest(record: SandboxRecord, request: SandboxRequest, self: SelfRecord | undefined): boolean {
  if (record.mode !== request.mode) return false;
  if (record.mode === 'none') return true;
  const block = parseBlock(self?.gatewaySubnet ?? '');
  return (
    block !== undefined &&
    contains(block, record.gateway ?? '') &&
    sameAttachments(record.attachments, request.attachments) &&
    sameHostPorts(record.hostPorts, request.hostPorts) &&
    JSON.stringify(record.nameservers) === JSON.stringify(request.dns.nameservers)
  );
}

/** A number that was left open is the one that was chosen. */
function sameHostPorts(recorded: readonly HostPort[], requested: readonly HostPort[]): boolean {
  const filled = requested.map((one, at) => ({ ...one, port: one.port || (recorded[at]?.port ?? 0) }));
  return JSON.stringify(recorded) === JSON.stringify(filled);
}

function sameAttachments(one: readonly NetworkAddresses[], other: readonly NetworkAddresses[]): boolean {
  const text = (list: readonly NetworkAddresses[]) =>
    list.map(({ networkId, addresses }) => [networkId, ...addresses].join(' ')).join(',');
  return text(one) === text(other);
}

function sandboxOf(record: SandboxRecord, paths: Pick<Sandbox, 'hostsPath' | 'resolvConfPath' | 'hostnamePath'>) {
  return {
    taskId: record.taskId,
    netnsPath: netnsPath(record.netns),
    ...(record.gateway === undefined ? {} : { gateway: record.gateway }),
    ...paths,
    ports: record.hostPorts.map(({ port, protocol, target, hostIp }) => ({
      Protocol: protocol,
      TargetPort: target,
      PublishedPort: port,
      PublishMode: 'host',
      ...(hostIp === undefined ? {} : { HostIP: hostIp }),
    })),
  };
}

function cancelled(cause: unknown): ClusterError {
  return new ClusterError('cancelled', 'the task no longer wants its network', { cause });
}

function closing(): ClusterError {
  return new ClusterError('cancelled', 'the network driver stops');
}
