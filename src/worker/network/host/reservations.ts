/**
 * Listening sockets that hold published ports. Address translation would win over a local program's socket without a word; binding
 * first makes the clash an error instead. Nothing ever reaches these sockets: packets are sent on or refused before.
 */
import type { Clock } from '../../../lib/clock.ts';
import { messageOf } from '../../../lib/errors.ts';
import { holdPort, type Release } from './hold-port.ts';
import { type PortKey, portKey } from './port-key.ts';

export interface Wanted extends PortKey {
  /** `service ID` or `task ID`. */
  readonly owner: string;
  /** An address that this host does not have is an error; else it can not be held and need not be: no packet for it comes here. */
  readonly mustBeHere?: boolean;
}

/** Who has the port, given what the system said. */
type Describe = (wanted: Wanted, error: string) => Promise<string>;

const firstRetryMs = 1_000;
const lastRetryMs = 60_000;

interface Held extends Wanted {
  readonly release: Release;
}

interface Failed {
  readonly reason: string;
  readonly retryAt: number;
  readonly delayMs: number;
}

export class Reservations {
  readonly #clock: Clock;
  readonly #describe: Describe;
  readonly #held = new Map<string, Held>();
  readonly #failed = new Map<string, Failed>();

  constructor(clock: Clock, describe: Describe) {
    this.#clock = clock;
    this.#describe = describe;
  }

  /** Holds the port, or says who has it: another owner of ours, a program. Fine when its owner has it. */
  async take(wanted: Wanted): Promise<string | undefined> {
    const key = portKey(wanted);
    const holder = this.#held.get(key) ?? this.#overlapping(wanted);
    if (holder !== undefined) return holder.owner === wanted.owner ? undefined : holder.owner;
    try {
      this.#held.set(key, { ...wanted, release: await bind(wanted) });
      this.#failed.delete(key);
      return undefined;
    } catch (error) {
      const message = messageOf(error);
      return message === notHere(wanted.hostIp) ? message : this.#describe(wanted, message);
    }
  }

  /** As `take`, but what failed a moment ago is tried again only after a while that grows. */
  async takeAgain(wanted: Wanted): Promise<string | undefined> {
    const key = portKey(wanted);
    const before = this.#failed.get(key);
    if (before !== undefined && this.#clock.monotonic() < before.retryAt) return before.reason;
    const reason = await this.take(wanted);
    if (reason === undefined) return undefined;
    const delayMs = before === undefined ? firstRetryMs : Math.min(before.delayMs * 2, lastRetryMs);
    this.#failed.set(key, { reason, delayMs, retryAt: this.#clock.monotonic() + delayMs });
    return reason;
  }

  /** Lets go of everything else. */
  async keep(keys: ReadonlySet<string>): Promise<void> {
    for (const key of [...this.#failed.keys()]) if (!keys.has(key)) this.#failed.delete(key);
    for (const key of [...this.#held.keys()]) if (!keys.has(key)) await this.#free(key);
  }

  async release(owner: string): Promise<void> {
    for (const [key, held] of [...this.#held]) if (held.owner === owner) await this.#free(key);
  }

  /** How long until something that failed is worth another try; undefined: nothing failed. */
  retryInMs(): number | undefined {
    const times = [...this.#failed.values()].map(({ retryAt }) => retryAt - this.#clock.monotonic());
    return times.length === 0 ? undefined : Math.max(0, Math.min(...times));
  }

  #overlapping({ protocol, port, hostIp }: PortKey): Held | undefined {
    return [...this.#held.values()].find(
      (held) =>
        held.protocol === protocol &&
        held.port === port &&
        (held.hostIp === undefined || hostIp === undefined || held.hostIp === hostIp),
    );
  }

  async #free(key: string): Promise<void> {
    const held = this.#held.get(key);
    this.#held.delete(key);
    await held?.release();
  }
}

function bind({ protocol, port, hostIp = '0.0.0.0', mustBeHere = false }: Wanted): Promise<Release> {
  const bound = holdPort(protocol, port, hostIp).then(({ release }) => release);
  return bound.catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EADDRNOTAVAIL' && !mustBeHere) return async () => {};
    if (error.code === 'EADDRNOTAVAIL') throw new Error(notHere(hostIp), { cause: error });
    throw error;
  });
}

export function notHere(hostIp: string | undefined): string {
  return `${hostIp} is not an address of this host`;
}
