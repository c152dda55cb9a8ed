/** Which published ports this node takes: all of them, but those that another program has. */
import type { Clock } from '../../../lib/clock.ts';
import { ClusterError } from '../../../lib/errors.ts';
import type { NetworkProblem } from '../../../model/objects.ts';
import type { Desired, SandboxRecord } from '../planes.ts';
import type { Kernel } from './kernel.ts';
import { claimKey, hostIpOf, type PortKey, serviceOwner, taskOwner } from './port-key.ts';
import { notHere, Reservations, type Wanted } from './reservations.ts';

export interface Listener {
  /** It answers on every address. */
  readonly isWildcard: boolean;
  /** e.g. `nginx (process 17)`; absent when it is not to be seen. */
  readonly program?: string;
}

interface Claim extends Wanted {
  readonly serviceId?: string;
  /** For people: `service web`, `task abc`. */
  readonly label: string;
}

export class PublishedPorts {
  readonly #kernel: Kernel;
  readonly #reservations: Reservations;
  #wanted: readonly Claim[] = [];
  #refused: ReadonlySet<string> = new Set();

  constructor(kernel: Kernel, clock: Clock) {
    this.#kernel = kernel;
    this.#reservations = new Reservations(clock, (wanted, error) => this.#describe(wanted, error));
  }

  /** Claims (`claimKey`) of ports that are not this node's to take. */
  get refused(): ReadonlySet<string> {
    return this.#refused;
  }

  /** All of a task's ports or none; `desired` includes it. Errors: `failed_precondition`, naming the port. */
  async takeForTask({ taskId, hostPorts }: SandboxRecord, desired: Desired): Promise<void> {
    // The state may be newer than the last sync: who had the port then may be gone.
    if (hostPorts.length > 0) await this.#reservations.handOver(claimsOf(desired));
    for (const { port, protocol, hostIp } of hostPorts) {
      const wanted = { port, protocol, ...hostIpOf(hostIp), owner: taskOwner(taskId), mustBeHere: true };
      const reason = cannot(wanted) ?? (await this.#reservations.take(wanted));
      if (reason === undefined) continue;
      await this.releaseOfTask(taskId);
      const where = `${hostIp ?? '0.0.0.0'}:${port}/${protocol}`;
      const what = reason === notHere(hostIp) ? 'cannot assign requested address' : 'port is already allocated';
      throw new ClusterError('failed_precondition', `Bind for ${where} failed: ${what} (${reason})`);
    }
  }

  releaseOfTask(taskId: string): Promise<void> {
    return this.#reservations.release(taskOwner(taskId));
  }

  /** Answers with what could not be had. */
  async takeAll(desired: Desired): Promise<readonly NetworkProblem[]> {
    const claims = claimsOf(desired);
    const refused = new Set<string>();
    const problems: NetworkProblem[] = [];
    await this.#reservations.handOver(claims);
    for (const claim of claims) {
      const reason = cannot(claim) ?? (await this.#reservations.takeAgain(claim));
      if (reason === undefined) continue;
      refused.add(claimKey(claim.owner, claim));
      problems.push(problemOf(claim, reason));
    }
    this.#wanted = claims;
    this.#refused = refused;
    return problems;
  }

  /** After the tables do not name them any more. */
  releaseUnwanted(): Promise<void> {
    return this.#reservations.keep(this.#wanted);
  }

  releaseAll(): Promise<void> {
    return this.#reservations.keep([]);
  }

  /** How long until a port that somebody has is worth another try; undefined: there is none. */
  retryInMs(): number | undefined {
    return this.#reservations.retryInMs();
  }

  async #describe({ port, protocol }: Wanted, error: string): Promise<string> {
    const listeners = await listenersOf(this.#kernel, [protocol === 'udp' ? '-u' : '-t'], port);
    return listeners.find(({ program }) => program !== undefined)?.program ?? error;
  }
}

function claimsOf({ sandboxes, state }: Desired): readonly Claim[] {
  const claims: Claim[] = [];
  for (const { taskId, hostPorts, mode } of sandboxes.values()) {
    if (mode !== 'own') continue;
    const serviceId = state.endpoints.get(taskId)?.serviceId;
    const owner = {
      owner: taskOwner(taskId),
      label: `task ${taskId}`,
      ...(serviceId === undefined ? {} : { serviceId }),
    };
    for (const { port, protocol, hostIp } of hostPorts) claims.push({ port, protocol, ...hostIpOf(hostIp), ...owner });
  }
  for (const { id, name, ports } of state.services.values()) {
    const owner = { owner: serviceOwner(id), label: `service ${name}`, serviceId: id };
    for (const port of ports) {
      claims.push({ port: port.published, protocol: port.protocol, ...hostIpOf(port.hostIp), ...owner });
    }
  }
  return claims;
}

/** What no retry will change. */
function cannot({ protocol, hostIp }: PortKey): string | undefined {
  if (protocol !== 'tcp' && protocol !== 'udp') return `protocol ${protocol} is not supported yet`;
  return hostIp?.includes(':') === true ? 'publishing on IPv6 addresses of hosts is not supported yet' : undefined;
}

function problemOf(claim: Claim, reason: string): NetworkProblem {
  const { port, protocol, hostIp, label, serviceId } = claim;
  const where = `${hostIp === undefined ? '' : `${hostIp}:`}${port}/${protocol}`;
  const message = `published port ${where} of ${label} does not answer on this node: ${reason} has it; stop that, or publish another port`;
  const fixed = cannot(claim);
  return {
    ...(serviceId === undefined ? {} : { serviceId }),
    message: fixed === undefined ? message : `published port ${where} of ${label}: ${fixed}`,
  };
}

/** Who listens there. Without the program that tells, nobody is to be seen. */
export async function listenersOf(kernel: Kernel, kind: readonly string[], port: number): Promise<readonly Listener[]> {
  const output = await kernel.read('ss', ['-H', '-l', '-n', '-p', ...kind, `sport = :${port}`]).catch(() => '');
  return output.split('\n').flatMap((line) => parseListener(line, port) ?? []);
}

/** A line of `ss -Hlnp`. */
export function parseListener(line: string, port: number): Listener | undefined {
  const local = line.split(/\s+/).find((word) => word.endsWith(`:${port}`));
  if (local === undefined) return undefined;
  const user = /users:\(\("([^"]+)",pid=(\d+)/.exec(line);
  const address = local.slice(0, -`:${port}`.length).replace(/%.*/, '');
  return {
    isWildcard: ['0.0.0.0', '*', '[::]'].includes(address),
    ...(user === null ? {} : { program: `${user[1]} (process ${user[2]})` }),
  };
}
