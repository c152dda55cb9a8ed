/**
 * Keeps the names process: starts it when this node has a network or a container for the first time, adopts the one that an earlier
 * daemon left, replaces one of another version, starts a crashed one again, and tells it what changed. Nothing here answers a query.
 */
import { rmSync } from 'node:fs';
import { type Cancel, type Clock, sleep } from '../../../lib/clock.ts';
import { ClusterError, messageOf } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import { fraction, type Random } from '../../../lib/random.ts';
import type { NetworkProblem } from '../../../model/objects.ts';
import { dnsPort, gatewayAddress } from '../host/names.ts';
import { allFailed, type Desired, type Failures, type Plane, type SandboxRecord, type SyncOptions } from '../planes.ts';
import { Link } from './link.ts';
import { type Listen, protocolVersion } from './protocol.ts';
import { Deriver, type NameRecords } from './records.ts';
import { defaultCommand, killStale, type NamesPaths, namesPaths, startProcess } from './spawn.ts';
import { programVersion } from './version.ts';

export interface NamesPlaneOptions {
  /** For its socket, pid file and log. */
  readonly stateDir: string;
  /** Starts the process; `--socket PATH --pid-file PATH` is added. Default: `tscluster names` of this installation. */
  readonly command?: readonly string[];
  /** Of this program. A process of another one is replaced. */
  readonly version?: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Called when a problem that `sync` reported is over. */
  readonly again?: () => void;
}

/** How long a change waits for a process that does not come up, before it is reported. */
const patienceMs = 5_000;
const backOffMs = { first: 100, last: 10_000 } as const;
/** A process that ran this long before it ended is started again at once. */
const steadyMs = 30_000;

interface Wanted {
  readonly records: NameRecords;
  readonly listen: Listen | undefined;
}

export function createNamesPlane(options: NamesPlaneOptions): Plane {
  return new NamesPlane(options);
}

class NamesPlane implements Plane {
  readonly #options: NamesPlaneOptions;
  readonly #paths: NamesPaths;
  readonly #version: string;
  #deriver = new Deriver();
  #wanted: Wanted | undefined;
  #link: Link | undefined;
  #linkedAt = 0;
  #failures = 0;
  /** Something was reported that is to be taken back. */
  #reported = false;
  #cancelRepair: Cancel = () => {};
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: NamesPlaneOptions) {
    this.#options = options;
    this.#paths = namesPaths(options.stateDir);
    this.#version = options.version ?? programVersion();
  }

  /** A container that is on no network knows no names of the cluster: it starts all the same, and `sync` tells what is wrong. */
  async wire(sandboxes: readonly SandboxRecord[], desired: Desired): Promise<Failures> {
    const onNetworks = sandboxes.filter(({ attachments }) => attachments.length > 0);
    try {
      const problem = await this.#bring(desired);
      return problem === undefined ? new Map() : allFailed(onNetworks, new ClusterError('unavailable', problem));
    } catch (error) {
      return allFailed(onNetworks, error);
    }
  }

  async unwire(sandbox: SandboxRecord, desired: Desired): Promise<void> {
    const sandboxes = new Map(desired.sandboxes);
    sandboxes.delete(sandbox.taskId);
    // Without a process nobody answers it; the next one is told nothing of it.
    this.#want({ ...desired, sandboxes });
    await this.#exclusively(() => this.#tellLinked());
  }

  async sync(desired: Desired, _how?: SyncOptions): Promise<readonly NetworkProblem[]> {
    const problem = await this.#bring(desired).catch((error: unknown) => messageOf(error));
    this.#reported = problem !== undefined;
    return problem === undefined ? [] : [{ message: problem.slice(0, 500) }];
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRepair();
    await this.#queue;
    this.#link?.close();
    this.#link = undefined;
  }

  async destroy(): Promise<void> {
    this.#cancelRepair();
    this.#wanted = undefined;
    await this.#exclusively(async () => {
      this.#deriver = new Deriver();
      const link = this.#link ?? (await Link.open(this.#paths.socket, this.#options.clock).catch(() => undefined));
      this.#link = undefined;
      await link?.end().catch(() => link.close());
      killStale(this.#paths);
      for (const path of [this.#paths.socket, this.#paths.pid, this.#paths.log]) rmSync(path, { force: true });
    });
  }

  #want(desired: Desired): Wanted {
    const { self } = desired.state;
    const listen = self === undefined ? undefined : { address: gatewayAddress(self.gatewaySubnet), port: dnsPort };
    this.#wanted = { records: this.#deriver.records(desired), listen };
    return this.#wanted;
  }

  /** Answers with what is in the way of answering containers; throws when there is no process. */
  #bring(desired: Desired): Promise<string | undefined> {
    const { records } = this.#want(desired);
    if (this.#closed) return Promise.resolve(undefined);
    if (records.askers.size === 0 && this.#link === undefined) {
      // A node is told of a network when a task of it is to run here: the container will not have to wait for the process.
      if (records.networks.size > 0 && this.#failures === 0) this.#repairLater(0);
      return Promise.resolve(undefined);
    }
    this.#cancelRepair();
    return this.#exclusively(() => this.#tellUntil(this.#options.clock.monotonic() + patienceMs));
  }

  async #tellUntil(endMs: number): Promise<string | undefined> {
    const { clock } = this.#options;
    for (;;) {
      try {
        return await this.#tell();
      } catch (error) {
        const waitMs = this.#failed(error);
        if (this.#closed || clock.monotonic() + waitMs > endMs) {
          this.#repairLater(waitMs);
          throw error;
        }
        await sleep(clock, waitMs);
      }
    }
  }

  async #tell(): Promise<string | undefined> {
    const wanted = this.#wanted;
    if (wanted === undefined) return undefined;
    const link = this.#link ?? (await this.#connect());
    const problem = await link.tell(wanted.records, wanted.listen);
    if (this.#options.clock.monotonic() - this.#linkedAt > steadyMs) this.#failures = 0;
    return problem;
  }

  async #tellLinked(): Promise<void> {
    if (this.#link === undefined) return;
    try {
      await this.#tell();
    } catch (error) {
      this.#repairLater(this.#failed(error));
    }
  }

  /** Lets go of a process that did not do as it should; answers how long to wait for the next attempt. */
  #failed(error: unknown): number {
    const { log, random } = this.#options;
    log.warn('the names process', { error: messageOf(error) });
    this.#link?.close();
    this.#link = undefined;
    const waitMs = Math.min(backOffMs.first * 2 ** this.#failures, backOffMs.last);
    this.#failures = Math.min(this.#failures + 1, 16);
    return waitMs * (0.75 + fraction(random) / 2);
  }

  #onLost(link: Link): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    const { clock, log } = this.#options;
    if (this.#closed || this.#wanted === undefined) return;
    log.warn('the names process ended: it is started again', { pid: link.hello.pid });
    if (clock.monotonic() - this.#linkedAt > steadyMs) this.#failures = 0;
    const waitMs = this.#failures === 0 ? 0 : Math.min(backOffMs.first * 2 ** this.#failures, backOffMs.last);
    this.#failures = Math.min(this.#failures + 1, 16);
    this.#repairLater(waitMs);
  }

  #repairLater(waitMs: number): void {
    this.#cancelRepair();
    if (this.#closed) return;
    this.#cancelRepair = this.#options.clock.timer(waitMs, () => void this.#exclusively(() => this.#repair()));
  }

  async #repair(): Promise<void> {
    if (this.#closed || this.#wanted === undefined || this.#link !== undefined) return;
    try {
      await this.#tell();
      if (this.#reported) this.#options.again?.();
    } catch (error) {
      this.#repairLater(this.#failed(error));
    }
  }

  async #connect(): Promise<Link> {
    const link = (await this.#adopt()) ?? (await this.#start());
    this.#link = link;
    this.#linkedAt = this.#options.clock.monotonic();
    link.watch({
      onLost: () => this.#onLost(link),
      onListening: () => this.#options.again?.(),
    });
    return link;
  }

  /** The process that is there already, if it is of this program. */
  async #adopt(): Promise<Link | undefined> {
    const { clock, log } = this.#options;
    const link = await Link.open(this.#paths.socket, clock).catch(() => undefined);
    if (link === undefined) return undefined;
    const { protocol, version, pid } = link.hello;
    if (protocol === protocolVersion && version === this.#version) {
      log.info('names are answered by the process of an earlier daemon', { pid });
      return link;
    }
    log.info('replacing the names process of another version', { pid, version });
    await link.end().catch(() => link.close());
    return undefined;
  }

  async #start(): Promise<Link> {
    const { clock, command = defaultCommand(), log } = this.#options;
    if (killStale(this.#paths)) log.warn('killed a names process that did not answer');
    await startProcess(command, this.#paths, clock);
    const link = await Link.open(this.#paths.socket, clock);
    log.info('names are answered by a process of their own', { pid: link.hello.pid });
    return link;
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(work, work);
    this.#queue = done.catch(() => {});
    return done;
  }
}
