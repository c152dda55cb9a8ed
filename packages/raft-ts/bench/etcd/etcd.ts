/** Three processes of etcd with its own defaults, but for a quota that would end the bench. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Child, Workplace } from './processes.ts';
import { poll } from './processes.ts';
import { type Counters, NodeClient, type Subject } from './subject.ts';

const size = 3;

export interface EtcdOptions {
  readonly firstPort: number;
  readonly syncDelayMs: number;
  readonly snapshotEveryEntries?: number;
}

export class Etcd implements Subject {
  readonly name = 'etcd';
  readonly title = version();
  readonly nodes: readonly NodeClient[];
  readonly #workplace: Workplace;
  readonly #options: EtcdOptions;
  readonly #children: Child[] = [];

  constructor(workplace: Workplace, options: EtcdOptions) {
    this.#workplace = workplace;
    this.#options = options;
    this.nodes = Array.from({ length: size }, (_, at) => new NodeClient(options.firstPort + size + at));
  }

  async start(): Promise<void> {
    for (let at = 0; at < size; at++) this.startNode(at);
    await poll(() => this.leader(), { limitMs: 20_000, what: `etcd elects a leader\n${this.#outputs()}` });
    await this.#checkSlowness();
  }

  startNode(at: number): void {
    const { firstPort, syncDelayMs, snapshotEveryEntries } = this.#options;
    const peer = (node: number) => `http://127.0.0.1:${String(firstPort + node)}`;
    const client = `http://127.0.0.1:${String(firstPort + size + at)}`;
    const cluster = Array.from({ length: size }, (_, node) => `n${String(node)}=${peer(node)}`).join(',');
    const args = [
      `--name=n${String(at)}`,
      `--data-dir=${join(this.#workplace.directory, `etcd-${String(at + 1)}`)}`,
      `--listen-peer-urls=${peer(at)}`,
      `--initial-advertise-peer-urls=${peer(at)}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--initial-cluster=${cluster}`,
      '--initial-cluster-state=new',
      '--initial-cluster-token=raft-bench',
      '--log-level=error',
      `--quota-backend-bytes=${String(2 ** 33)}`,
      ...(snapshotEveryEntries === undefined ? [] : [`--snapshot-count=${String(snapshotEveryEntries)}`]),
    ];
    const [command, ...rest] = syncDelayMs === 0 ? ['etcd'] : [...slowed(syncDelayMs), 'etcd'];
    this.#children[at] = this.#workplace.start(command ?? 'etcd', [...rest, ...args]);
    this.nodes[at]?.reconnect();
  }

  async killNode(at: number): Promise<void> {
    await this.#children[at]?.stop('SIGKILL');
  }

  async leader(): Promise<number | undefined> {
    for (const [at, child] of this.#children.entries()) {
      if (!child.running) continue;
      const metrics = await this.#metrics(at).catch(() => undefined);
      if (metrics?.get('etcd_server_is_leader') === 1) return at;
    }
    return undefined;
  }

  async counters(leader: number): Promise<Counters> {
    const metrics = await this.#metrics(leader);
    const wal = metrics.get('etcd_disk_wal_fsync_duration_seconds_count') ?? 0;
    const rss = metrics.get('process_resident_memory_bytes') ?? 0;
    const cpuMs = (metrics.get('process_cpu_seconds_total') ?? 0) * 1000;
    return { syncs: wal, cpuMs, note: `${String(Math.round(rss / 2 ** 20))} MiB` };
  }

  async #metrics(at: number): Promise<ReadonlyMap<string, number>> {
    const url = this.nodes[at]?.url ?? '';
    const response = await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(2000) });
    const lines = (await response.text()).split('\n').filter((line) => !line.startsWith('#'));
    return new Map(
      lines.map((line) => {
        const [name = '', value] = line.split(' ');
        return [name, Number(value)];
      }),
    );
  }

  /** A delay that does not reach etcd's disk must not be taken for one. */
  async #checkSlowness(): Promise<void> {
    const { syncDelayMs } = this.#options;
    if (syncDelayMs === 0) return;
    const metrics = await this.#metrics(0);
    const sum = metrics.get('etcd_disk_wal_fsync_duration_seconds_sum') ?? 0;
    const count = metrics.get('etcd_disk_wal_fsync_duration_seconds_count') ?? 0;
    const meanMs = (sum / count) * 1000;
    if (!(meanMs >= syncDelayMs)) {
      throw new Error(
        `etcd's disk could not be slowed: ${meanMs.toFixed(2)} ms per sync instead of ${String(syncDelayMs)}`,
      );
    }
  }

  #outputs(): string {
    return this.#children.map((child) => child.output).join('\n');
  }
}

/**
 * etcd calls the kernel past any library, so no preloaded one can slow it; a tracer can, one that stops it at nothing
 * but these two calls.
 */
function slowed(delayMs: number): string[] {
  const calls = 'fsync,fdatasync';
  const inject = `inject=${calls}:delay_exit=${String(delayMs * 1000)}`;
  return ['strace', '-f', '-qqq', '--seccomp-bpf', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', inject];
}

function version(): string {
  const text = execFileSync('etcd', ['--version'], { encoding: 'utf8' });
  return `etcd ${/etcd Version: (\S+)/.exec(text)?.[1] ?? ''}`.trim();
}
