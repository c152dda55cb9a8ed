/**
 * Listening sockets that hold published ports. Address translation would win over a local program's socket without a word; binding
 * first makes the clash an error instead. Nothing ever reaches these sockets: packets are sent on or refused before.
 */
import type { Clock } from '../../../lib/clock.ts';
import { messageOf } from '../../../lib/errors.ts';
import { holdPort, type Release } from './hold-port.ts';
import { claimKey, type PortKey, portKey } from './port-key.ts';

export interface Wanted extends PortKey {
  /** `service ID` or `task ID`. */
  readonly owner: string;
  /** The owner for people: `service web`; absent: the same. */
  readonly label?: string;
  /** An address that this host does not have is an error; else it can not be held and need not be: no packet for it comes here. */
  readonly mustBeHere?: boolean;
}

/** Who has the port, given what the system said. */
type Describe = (wanted: Wanted, error: string) => Promise<string>;

const firstRetryMs = 1_000;
const lastRetryMs = 60_000;

interface Held extends Wanted {
  /** Absent: there is no socket, because the address is not of this host. */
  readonly release?: Release;
}

interface Failed extends PortKey {
  readonly reason: string;
  readonly retryAt: number;
  readonly delayMs: number;
}

export class Reservations {
  readonly #clock: Clock;
  readonly #describe: Describe;
  readonly #held = new Map<string, Held>();
  /** By claim: of two who want a port only one is without it. */
  readonly #failed = new Map<string, Failed>();

  constructor(clock: Clock, describe: Describe) {
    this.#clock = clock;
    this.#describe = describe;
  }

  /** Holds the port, or says who has it: another owner of ours, a program. Fine when its owner has it. */
  async take(wanted: Wanted): Promise<string | undefined> {
    const key = portKey(wanted);
    const holder = this.#held.get(key) ?? this.#overlapping(wanted);
    if (holder !== undefined) return holder.owner === wanted.owner ? undefined : (holder.label ?? holder.owner);
    try {
      const release = await bind(wanted);
      this.#held.set(key, { ...wanted, ...(release === undefined ? {} : { release }) });
      this.#failed.delete(claimKey(wanted.owner, wanted));
      return undefined;
    } catch (error) {
      const message = messageOf(error);
      return message === notHere(wanted.hostIp) ? message : this.#describe(wanted, message);
    }
  }

  /** As `take`, but what failed a moment ago is tried again only after a while that grows. */
  async takeAgain(wanted: Wanted): Promise<string | undefined> {
    const key = claimKey(wanted.owner, wanted);
    const before = this.#failed.get(key);
    if (before !== undefined && this.#clock.monotonic() < before.retryAt) return before.reason;
    const reason = await this.take(wanted);
    if (reason === undefined) return undefined;
    const delayMs = before === undefined ? firstRetryMs : Math.min(before.delayMs * 2, lastRetryMs);
    const { protocol, port } = wanted;
    this.#failed.set(key, { protocol, port, reason, delayMs, retryAt: this.#clock.monotonic() + delayMs });
    return reason;
  }

  /**
   * A port whose owner claims it no more goes to the one who does, without a moment in which it is nobody's; where only the addresses
   * overlap it has to be free first. Ports that nobody else claims stay until `keep`.
   */
  async handOver(claims: readonly Wanted[]): Promise<void> {
    const wanted = keysOf(claims);
    for (const [key, held] of [...this.#held]) {
      if (wanted.has(claimKey(held.owner, held))) continue;
      const others = claims.filter((claim) => overlap(claim, held));
      const next = others.find((claim) => portKey(claim) === key);
      if (others.length === 0) continue;
      if (next === undefined || held.release === undefined) await this.#free(key);
      else this.#held.set(key, { ...next, release: held.release });
      this.#forgetFailures(held);
    }
  }

  /** Lets go of everything else. */
  async keep(claims: readonly Wanted[]): Promise<void> {
    const wanted = keysOf(claims);
    for (const key of [...this.#failed.keys()]) if (!wanted.has(key)) this.#failed.delete(key);
    for (const [key, held] of [...this.#held]) {
      if (!wanted.has(claimKey(held.owner, held))) await this.#free(key);
    }
  }

  async release(owner: string): Promise<void> {
    for (const [key, held] of [...this.#held]) if (held.owner === owner) await this.#free(key);
  }

  /** How long until something that failed is worth another try; undefined: nothing failed. */
  retryInMs(): number | undefined {
    const times = [...this.#failed.values()].map(({ retryAt }) => retryAt - this.#clock.monotonic());
    return times.length === 0 ? undefined : Math.max(0, Math.min(...times));
  }

  #overlapping(wanted: PortKey): Held | undefined {
    return [...this.#held.values()].find((held) => overlap(held, wanted));
  }

  /** Whoever was refused because of its last owner may have it now. */
  #forgetFailures({ protocol, port }: PortKey): void {
    for (const [key, failed] of this.#failed) {
      if (failed.protocol === protocol && failed.port === port) this.#failed.delete(key);
    }
  }

  async #free(key: string): Promise<void> {
    const held = this.#held.get(key);
    this.#held.delete(key);
    if (held !== undefined) this.#forgetFailures(held);
    await held?.release?.();
  }
}

function keysOf(claims: readonly Wanted[]): ReadonlySet<string> {
  return new Set(claims.map((claim) => claimKey(claim.owner, claim)));
}

function overlap(one: PortKey, other: PortKey): boolean {
  if (one.protocol !== other.protocol || one.port !== other.port) return false;
  return one.hostIp === undefined || other.hostIp === undefined || one.hostIp === other.hostIp;
}

function bind({ protocol, port, hostIp = '0.0.0.0', mustBeHere = false }: Wanted): Promise<Release | undefined> {
  const bound = holdPort(protocol, port, hostIp).then(({ release }) => release);
  return bound.catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EADDRNOTAVAIL' && !mustBeHere) return undefined;
    if (error.code === 'EADDRNOTAVAIL') throw new Error(notHere(hostIp), { cause: error });
    throw error;
  });
}

export function notHere(hostIp: string | undefined): string {
  return `${hostIp} is not an address of this host`;
}
