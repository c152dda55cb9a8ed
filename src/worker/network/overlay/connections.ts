/**
 * Connection tracking remembers which backend a virtual address led to. When an endpoint is taken out, its UDP flows and half-open TCP
 * connections are made to forget it; when it is gone or lost, all are. Otherwise a client would go on talking to nobody. Runs behind the
 * change of the maps, one at a time. Each address waits once; where too many do, the network forgets all of its connections at a stroke.
 */
import type { Cancel, Clock } from '../../../lib/clock.ts';
import { isKind, messageOf } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import { withoutPrefix } from '../../../model/ip.ts';
import type { NetworkState } from '../../../model/network.ts';
import { run } from '../exec.ts';
import { isNetns, netnsPath } from '../netns.ts';

/**
 * Addresses of one network, each a run of `conntrack` of some milliseconds. Beyond it the whole table goes: connections between addresses
 * that are still there are picked up again by their next packet, those to virtual addresses may be reset and made again. That is better
 * than clients that talk to nobody until a time limit ends it, and better than seconds of work for every node.
 */
const waitingMax = 1_024;
/** Answers that are on their way when an endpoint leaves still find their connection: what has begun then is given this long. */
const graceMs = 500;

interface Noted {
  readonly netns: string;
  readonly now: ReadonlyMap<string, Standing>;
  /** As of the last change that succeeded. */
  readonly before: ReadonlyMap<string, Standing>;
}

/** Of an address: `leaving` ones finish what they have begun, `lost` ones are on a node that the managers have given up. */
type Standing = 'active' | 'leaving' | 'lost';
/** Which connections of an address. */
type Extent = 'begun' | 'all';
/** Runs `conntrack` in a namespace, if that is still there. */
type Conntrack = (netns: string, args: readonly string[]) => Promise<void>;

export class ConnectionCleaner {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #conntrack: Conntrack;
  readonly #noted = new Map<string, Noted>();
  /** By namespace, then by address. */
  readonly #waiting = new Map<string, Map<string, Extent> | 'everything'>();
  /** Of endpoints that leave, by namespace and address. */
  readonly #grace = new Map<string, Cancel>();
  #running: Promise<void> = Promise.resolve();
  #busy = false;
  #closed = false;
  missing = false;

  constructor({ log, clock }: { readonly log: Log; readonly clock: Clock }, conntrack: Conntrack = runConntrack) {
    this.#log = log;
    this.#clock = clock;
    this.#conntrack = conntrack;
  }

  /** Before the maps change. */
  note(networkId: string, netns: string, state: NetworkState): void {
    const now = new Map<string, Standing>();
    for (const { attachments, active, nodeId } of state.endpoints.values()) {
      const own = attachments.find((attachment) => attachment.networkId === networkId)?.addresses ?? [];
      const standing = active ? 'active' : isLost(nodeId, state) ? 'lost' : 'leaving';
      for (const address of own) now.set(withoutPrefix(address), standing);
    }
    // What the last change left behind, if it failed, is still to be cleaned.
    this.#noted.set(networkId, { netns, now, before: this.#noted.get(networkId)?.before ?? new Map() });
  }

  /** After the maps have changed. */
  clean(networkId: string): void {
    const noted = this.#noted.get(networkId);
    if (noted === undefined) return;
    const { netns } = noted;
    for (const [address, now] of noted.now) if (now === 'active') this.#endGrace(netns, address);
    for (const [address, before] of noted.before) {
      const now = noted.now.get(address);
      if (now === before || now === 'active') continue;
      if (now === undefined || now === 'lost') {
        this.#endGrace(netns, address);
        this.#add(netns, address, 'all');
      } else if (before === 'active') this.#addLater(netns, address);
    }
    this.#noted.set(networkId, { ...noted, before: noted.now });
  }

  forget(networkId: string): void {
    this.#noted.delete(networkId);
  }

  /** Resolves when nothing waits. */
  idle(): Promise<void> {
    return this.#running;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#waiting.clear();
    for (const cancel of this.#grace.values()) cancel();
    this.#grace.clear();
    await this.#running;
  }

  #addLater(netns: string, address: string): void {
    if (this.#closed) return;
    this.#endGrace(netns, address);
    const timer = this.#clock.timer(graceMs, () => {
      this.#grace.delete(`${netns} ${address}`);
      this.#add(netns, address, 'begun');
    });
    this.#grace.set(`${netns} ${address}`, timer);
  }

  #endGrace(netns: string, address: string): void {
    this.#grace.get(`${netns} ${address}`)?.();
    this.#grace.delete(`${netns} ${address}`);
  }

  #add(netns: string, address: string, extent: Extent): void {
    if (this.#closed) return;
    const waiting = this.#waiting.get(netns) ?? new Map<string, Extent>();
    this.#waiting.set(netns, waiting);
    if (waiting !== 'everything') {
      waiting.set(address, waiting.get(address) ?? extent);
      if (extent === 'all') waiting.set(address, extent);
      if (waiting.size > waitingMax) this.#waiting.set(netns, 'everything');
    }
    if (this.#busy) return;
    this.#busy = true;
    this.#running = this.#work();
  }

  async #work(): Promise<void> {
    // The caller adds the rest first: too many are known as such before the first one is worked on.
    await Promise.resolve();
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      for (const args of next.commands) await this.#run(next.netns, args);
    }
    this.#busy = false;
  }

  #next(): { readonly netns: string; readonly commands: readonly (readonly string[])[] } | undefined {
    for (const [netns, waiting] of this.#waiting) {
      const [first] = waiting === 'everything' ? [] : waiting;
      if (waiting === 'everything' || first === undefined) this.#waiting.delete(netns);
      if (waiting === 'everything') return { netns, commands: [['-F'], ['-F', '-f', 'ipv6']] };
      if (first === undefined) continue;
      const [address, extent] = first;
      waiting.delete(address);
      return { netns, commands: deletions(address, extent) };
    }
    return undefined;
  }

  async #run(netns: string, args: readonly string[]): Promise<void> {
    try {
      await this.#conntrack(netns, args);
      this.missing = false;
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Nothing to delete is an error to `conntrack`. */
  #failed(error: unknown): void {
    const message = messageOf(error);
    if (/ 0 flow entries/.test(message)) return;
    this.missing = /No such file or directory|not installed/.test(message) || isKind(error, 'failed_precondition');
    this.#log.debug('cutting connections', { error: message });
  }
}

/** A node that was removed is in no record. */
function isLost(nodeId: string, { self, peers }: NetworkState): boolean {
  if (nodeId === self?.nodeId) return false;
  const peer = peers.get(nodeId);
  return peer === undefined || peer.down === true;
}

function deletions(address: string, extent: Extent): readonly (readonly string[])[] {
  const family = address.includes(':') ? ['-f', 'ipv6'] : [];
  const filters =
    extent === 'all'
      ? [[]]
      : [
          ['-p', 'udp'],
          ['-p', 'tcp', '--state', 'SYN_SENT'],
        ];
  return filters.map((filter) => ['-D', ...family, ...filter, '--reply-src', address]);
}

async function runConntrack(netns: string, args: readonly string[]): Promise<void> {
  if (!(await isNetns(netns))) return;
  await run('nsenter', [`--net=${netnsPath(netns)}`, 'conntrack', ...args]);
}
