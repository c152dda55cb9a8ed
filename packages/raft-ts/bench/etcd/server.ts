/**
 * One node of a replicated key-value store: the process that `bench/etcd` measures, and an example of raft-ts in use. It
 * answers etcd's `Put` and `Range` (one key, no leases, no watches) and tells its counters. Nothing but the public API.
 *
 * Started with one argument, the JSON of `ServerConfig`; stops on SIGTERM.
 */
import { status as Code, credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import { type Entry, NotLeaderError, nodeRuntime, OutcomeUnknown, RaftNode, type StateMachine } from 'raft-ts';
import { GrpcTransport, raftService } from 'raft-ts/grpc';
import { FileSnapshotStore, nodeFileSystem, WalLogStore } from 'raft-ts/wal';
import { DelayedFileSystem } from './delayed-file-system.ts';
import { type Refusal, serveFront } from './front.ts';
import type { KeyValue } from './protocol.ts';
import { decodePut, decodeRange, encodeRangeResponse, putPath, rangePath, statusPath } from './protocol.ts';

export interface ServerConfig {
  readonly id: number;
  readonly directory: string;
  readonly clientPort: number;
  /** Raft ports of nodes 1, 2, 3. */
  readonly raftPorts: readonly number[];
  readonly syncDelayMs: number;
  readonly snapshotEveryEntries?: number;
}

export interface ServerStatus {
  readonly role: string;
  readonly leader: number;
  readonly applied: number;
  readonly puts: number;
  readonly syncs: number;
  readonly openMs: number;
  readonly cpuMs: number;
  readonly rssBytes: number;
  /** Share of the time since the last call in which the event loop was busy. */
  readonly busy: number;
}

class KeyValues implements StateMachine<number> {
  puts = 0;
  #keys = new Map<string, KeyValue>();

  get(key: string): KeyValue | undefined {
    return this.#keys.get(key);
  }

  apply(entries: readonly Entry[]): number[] {
    return entries.map(({ data }) => {
      const { key, value } = decodePut(data);
      const version = (this.#keys.get(key)?.version ?? 0) + 1;
      this.#keys.set(key, { key, version, value });
      this.puts += 1;
      return version;
    });
  }

  async *snapshot(): AsyncIterable<Uint8Array> {
    const rows = [...this.#keys.values()].map(({ key, version, value }) => [key, version, [...value]]);
    yield Buffer.from(JSON.stringify({ puts: this.puts, rows }));
  }

  async restore(_meta: unknown, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    const state = JSON.parse(Buffer.concat(parts).toString()) as { puts: number; rows: [string, number, number[]][] };
    this.puts = state.puts;
    const values = state.rows.map(([key, version, value]) => ({ key, version, value: Uint8Array.from(value) }));
    this.#keys = new Map(values.map((value) => [value.key, value]));
  }
}

const config = JSON.parse(process.argv[2] ?? '') as ServerConfig;
const host = '127.0.0.1';
const nothing = Buffer.alloc(0);
let busySince = performance.eventLoopUtilization();
const fileSystem = new DelayedFileSystem(nodeFileSystem, config.syncDelayMs);
const machine = new KeyValues();
const transport = new GrpcTransport({
  id: config.id,
  cluster: 'bench',
  runtime: nodeRuntime,
  credentials: credentials.createInsecure(),
});
const openedAt = performance.now();
const raftServer = await serve(config.raftPorts[config.id - 1] ?? 0, (server) => {
  const { definition, implementation } = raftService(transport);
  server.addService(definition, implementation);
});
const node = await RaftNode.open<number>({
  id: config.id,
  log: new WalLogStore({ directory: `${config.directory}/log`, fileSystem }),
  snapshots: new FileSnapshotStore({ directory: `${config.directory}/snapshots`, fileSystem }),
  machine,
  transport,
  runtime: nodeRuntime,
  peers: new Map(config.raftPorts.map((port, at) => [at + 1, `${host}:${String(port)}`])),
  bootstrap: { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [], autoLeave: false },
  ...(config.snapshotEveryEntries === undefined
    ? {}
    : { snapshotEveryEntries: config.snapshotEveryEntries, snapshotEveryBytes: 2 ** 40 }),
});
node.onFault((fault) => {
  console.error(fault);
  process.exit(1);
});
const openMs = performance.now() - openedAt;
const closeFront = await serveFront({
  host,
  port: config.clientPort,
  methods: new Map([
    [putPath, put],
    [rangePath, range],
    [statusPath, status],
  ]),
  refusalOf,
});
process.once('SIGTERM', () => {
  closeFront();
  void node.close({ transfer: false }).finally(() => {
    raftServer.forceShutdown();
    process.exit(0);
  });
});

async function serve(port: number, addTo: (server: Server) => void): Promise<Server> {
  const server = new Server();
  addTo(server);
  await new Promise<void>((resolve, reject) => {
    const bound = (error: Error | null) => (error === null ? resolve() : reject(error));
    server.bindAsync(`${host}:${String(port)}`, ServerCredentials.createInsecure(), bound);
  });
  return server;
}

function refusalOf(error: unknown): Refusal {
  const details = error instanceof Error ? error.message : String(error);
  if (error instanceof NotLeaderError) return { code: Code.FAILED_PRECONDITION, details };
  return { code: error instanceof OutcomeUnknown ? Code.UNKNOWN : Code.UNAVAILABLE, details };
}

async function put(request: Buffer): Promise<Buffer> {
  await node.propose(request);
  return nothing;
}

async function range(request: Buffer): Promise<Buffer> {
  const { key, serializable } = decodeRange(request);
  if (!serializable) await node.readBarrier();
  return encodeRangeResponse(machine.get(key));
}

async function status(): Promise<Buffer> {
  const { role, leader, applied } = node.status();
  const now = performance.eventLoopUtilization();
  const busy = performance.eventLoopUtilization(now, busySince).utilization;
  busySince = now;
  const cpu = process.cpuUsage();
  const counters: ServerStatus = {
    role,
    leader,
    applied,
    puts: machine.puts,
    syncs: fileSystem.syncs,
    openMs,
    cpuMs: (cpu.user + cpu.system) / 1000,
    rssBytes: process.memoryUsage.rss(),
    busy,
  };
  return Buffer.from(JSON.stringify(counters));
}
