/**
 * Connection tracking remembers which backend a virtual address led to. When an endpoint is taken out, its UDP flows and half-open TCP
 * connections are made to forget it; when it is gone or lost, all are. Otherwise a client would go on talking to nobody. Runs behind the
 * change of the maps, one at a time, bounded: what is left over times out by itself.
 */
import { isKind, messageOf } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import { withoutPrefix } from '../../../model/ip.ts';
import type { NetworkState } from '../../../model/network.ts';
import { run } from '../exec.ts';
import { isNetns, netnsPath } from '../netns.ts';

const waitingMax = 256;

interface Noted {
  readonly netns: string;
  readonly now: ReadonlyMap<string, Standing>;
  readonly before: ReadonlyMap<string, Standing>;
}

/** Of an address: `leaving` ones finish what they have begun, `lost` ones are on a node that the managers have given up. */
type Standing = 'active' | 'leaving' | 'lost';

export class ConnectionCleaner {
  readonly #log: Log;
  readonly #noted = new Map<string, Noted>();
  readonly #waiting: { readonly netns: string; readonly filter: readonly string[] }[] = [];
  #running: Promise<void> = Promise.resolve();
  #busy = false;
  #closed = false;
  missing = false;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Before the maps change. */
  note(networkId: string, netns: string, state: NetworkState): void {
    const now = new Map<string, Standing>();
    for (const { attachments, active, nodeId } of state.endpoints.values()) {
      const own = attachments.find((attachment) => attachment.networkId === networkId)?.addresses ?? [];
      const standing = active ? 'active' : state.peers.get(nodeId)?.down === true ? 'lost' : 'leaving';
      for (const address of own) now.set(withoutPrefix(address), standing);
    }
    const known = this.#noted.get(networkId);
    this.#noted.set(networkId, { netns, now, before: known?.now ?? new Map() });
  }

  /** After the maps have changed. */
  clean(networkId: string): void {
    const noted = this.#noted.get(networkId);
    if (noted === undefined) return;
    for (const [address, before] of noted.before) {
      const now = noted.now.get(address);
      if (now === before || now === 'active') continue;
      if (now === undefined || now === 'lost') this.#add(noted.netns, address, []);
      else if (before === 'active') {
        this.#add(noted.netns, address, ['-p', 'udp']);
        this.#add(noted.netns, address, ['-p', 'tcp', '--state', 'SYN_SENT']);
      }
    }
    this.#noted.set(networkId, { ...noted, before: noted.now });
  }

  forget(networkId: string): void {
    this.#noted.delete(networkId);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#waiting.length = 0;
    await this.#running;
  }

  #add(netns: string, address: string, filter: readonly string[]): void {
    if (this.#closed || this.#waiting.length >= waitingMax) return;
    const family = address.includes(':') ? ['-f', 'ipv6'] : [];
    this.#waiting.push({ netns, filter: ['-D', ...family, ...filter, '--reply-src', address] });
    if (this.#busy) return;
    this.#busy = true;
    this.#running = this.#work();
  }

  async #work(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      const { netns, filter } = next;
      if (!(await isNetns(netns))) continue;
      try {
        await run('nsenter', [`--net=${netnsPath(netns)}`, 'conntrack', ...filter]);
        this.missing = false;
      } catch (error) {
        this.#failed(error);
      }
    }
    this.#busy = false;
  }

  /** Nothing to delete is an error to `conntrack`. */
  #failed(error: unknown): void {
    const message = messageOf(error);
    if (/ 0 flow entries/.test(message)) return;
    this.missing = /No such file or directory|not installed/.test(message) || isKind(error, 'failed_precondition');
    this.#log.debug('cutting connections', { error: message });
  }
}
