import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import type { Message, NodeId } from '../../src/index.ts';
import { encodeMessage, nodeRuntime, RaftNode } from '../../src/index.ts';
import { GrpcTransport, type GrpcTransportOptions, raftService } from '../../src/transport/grpc/index.ts';
import { crc32c, createFileSnapshotStore, createWalLogStore } from '../../src/wal/index.ts';
import { WordList } from '../driver/cluster.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Endpoint {
  readonly transport: GrpcTransport;
  readonly address: string;
}

async function endpoint(id: NodeId, options: Partial<GrpcTransportOptions> = {}): Promise<Endpoint> {
  const transport = new GrpcTransport({
    id,
    cluster: 'c1',
    runtime: nodeRuntime,
    credentials: credentials.createInsecure(),
    ...options,
  });
  const server = new Server();
  const { definition, implementation } = raftService(transport);
  server.addService(definition, implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  cleanups.push(
    () => server.forceShutdown(),
    () => transport.close(),
  );
  return { transport, address: `127.0.0.1:${String(port)}` };
}

/** Waits for an event of the real world, at most five seconds. */
async function eventually(condition: () => boolean): Promise<void> {
  for (let waitedMs = 0; !condition(); waitedMs += 10) {
    if (waitedMs > 5000) throw new Error('condition does not hold after 5 s');
    await new Promise<void>((resolve) => nodeRuntime.setTimer(10, resolve));
  }
}

const heartbeat = (from: NodeId, to: NodeId, commit = 0): Message => ({
  type: 'heartbeat',
  from,
  to,
  term: 1,
  commit,
  read: 0,
});
const append = (from: NodeId, to: NodeId, bytes: number): Message => ({
  type: 'append',
  from,
  to,
  term: 1,
  prev: { term: 1, index: 1 },
  entries: [{ term: 1, index: 2, kind: 0, data: new Uint8Array(bytes).fill(7) }],
  commit: 1,
  epoch: 0,
});
const installSnapshot = {
  type: 'snapshot',
  from: 1,
  to: 2,
  term: 3,
  epoch: 0,
  snapshot: {
    term: 2,
    index: 9,
    id: 'x',
    conf: { voters: [1], outgoing: [], learners: [], learnersNext: [], autoLeave: false },
  },
} as const;

const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function* pieces(count: number, size: number): AsyncIterable<Uint8Array> {
  for (let i = 0; i < count; i++) yield new Uint8Array(size).fill(i);
}

describe('the gRPC transport', () => {
  test('carries messages on both lanes, large ones included', async () => {
    const [a, b] = [await endpoint(1), await endpoint(2)];
    const got: Message[] = [];
    b.transport.onMessages((messages) => got.push(...messages));
    a.transport.setPeers(new Map([[2, b.address]]));
    const batch = [heartbeat(1, 2, 5), append(1, 2, 700_000), append(1, 2, 700_000)];
    a.transport.send(2, batch);
    await eventually(() => got.length === 3);
    // Comparing large arrays element by element takes seconds.
    const seen = (messages: readonly Message[]) => messages.map((message) => hash(encodeMessage(message))).sort();
    expect(seen(got)).toEqual(seen(batch));
  });

  test('reports a peer that cannot be reached, and reaches it once it is there', async () => {
    const [a, b] = [await endpoint(1), await endpoint(2)];
    let unreachable = 0;
    a.transport.onUnreachable(() => {
      unreachable += 1;
    });
    let got = 0;
    b.transport.onMessages(() => {
      got += 1;
    });
    a.transport.send(2, [heartbeat(1, 2)]);
    expect(unreachable).toBe(1);
    a.transport.setPeers(new Map([[2, '127.0.0.1:1']]));
    a.transport.send(2, [heartbeat(1, 2)]);
    await eventually(() => unreachable > 1);
    a.transport.setPeers(new Map([[2, b.address]]));
    a.transport.send(2, [heartbeat(1, 2)]);
    await eventually(() => got === 1);
  });

  test('drops what exceeds the bound of a lane instead of holding it', async () => {
    const [a, b] = [await endpoint(1, { bulkBytesMax: 100_000 }), await endpoint(2)];
    let dropped = 0;
    let got = 0;
    a.transport.onUnreachable(() => {
      dropped += 1;
    });
    b.transport.onMessages((messages) => {
      got += messages.length;
    });
    a.transport.setPeers(new Map([[2, b.address]]));
    for (let i = 0; i < 10; i++) a.transport.send(2, [append(1, 2, 40_000)]);
    expect(dropped).toBe(8);
    await eventually(() => got === 2);
    // The receiver's credit makes room again.
    await eventually(() => {
      a.transport.send(2, [append(1, 2, 40_000)]);
      return got > 2;
    });
  });

  test.each([
    ['of another cluster', { cluster: 'c2' }, {}],
    ['whose identity is not the claimed node', {}, { authorize: () => false }],
    [
      'whose identity cannot be checked',
      {},
      {
        authorize: () => {
          throw new Error('no certificate');
        },
      },
    ],
  ])('refuses a caller %s', async (_name, sender, receiver) => {
    const [a, b] = [await endpoint(1, sender), await endpoint(2, receiver)];
    let got = 0;
    let unreachable = 0;
    b.transport.onMessages(() => {
      got += 1;
    });
    a.transport.onUnreachable(() => {
      unreachable += 1;
    });
    a.transport.setPeers(new Map([[2, b.address]]));
    a.transport.send(2, [heartbeat(1, 2)]);
    await eventually(() => unreachable > 0);
    expect(got).toBe(0);
    await expect(a.transport.sendSnapshot(installSnapshot, pieces(1, 1), new AbortController().signal)).rejects.toThrow(
      'raft call refused',
    );
  });

  test('drops messages that claim another sender than the caller', async () => {
    const [a, b] = [await endpoint(1), await endpoint(2)];
    const got: Message[] = [];
    b.transport.onMessages((messages) => got.push(...messages));
    a.transport.setPeers(new Map([[2, b.address]]));
    a.transport.send(2, [heartbeat(3, 2), heartbeat(1, 9), heartbeat(1, 2)]);
    await eventually(() => got.length > 0);
    expect(got).toEqual([heartbeat(1, 2)]);
  });

  test('streams a snapshot and resolves when the receiver has taken it', async () => {
    const [a, b] = [await endpoint(1), await endpoint(2)];
    a.transport.setPeers(new Map([[2, b.address]]));
    let bytes = 0;
    b.transport.onSnapshot(async (message, chunks) => {
      expect(message).toEqual(installSnapshot);
      for await (const chunk of chunks) bytes += chunk.length;
    });
    await a.transport.sendSnapshot(installSnapshot, pieces(20, 600_000), new AbortController().signal);
    expect(bytes).toBe(12_000_000);
  });

  test('sends only what lies behind the bytes that the receiver has, and checks the whole', async () => {
    const [a, b] = [await endpoint(1), await endpoint(2)];
    a.transport.setPeers(new Map([[2, b.address]]));
    const whole: Uint8Array[] = [];
    for await (const piece of pieces(10, 100_000)) whole.push(piece);
    const all = Buffer.concat(whole);
    let rest: Uint8Array[] = [];
    let checksum = crc32c(all.subarray(0, 250_000));
    b.transport.onSnapshot(async (_message, chunks) => {
      rest = [];
      chunks.resumeAt?.(250_000, checksum);
      for await (const chunk of chunks) rest.push(chunk);
    });
    const send = () => a.transport.sendSnapshot(installSnapshot, pieces(10, 100_000), new AbortController().signal);
    await send();
    expect(hash(Buffer.concat(rest))).toBe(hash(all.subarray(250_000)));
    checksum += 1;
    await expect(send()).rejects.toThrow('checksum');
  });

  test('is refused when the receiver has more than there is', async () => {
    const [a, b] = [await endpoint(1), await endpoint(2)];
    a.transport.setPeers(new Map([[2, b.address]]));
    b.transport.onSnapshot(async (_message, chunks) => {
      chunks.resumeAt?.(2001, 0);
      for await (const chunk of chunks) expect(chunk.length).toBe(0);
    });
    await expect(
      a.transport.sendSnapshot(installSnapshot, pieces(2, 1000), new AbortController().signal),
    ).rejects.toThrow('no byte 2001');
  });

  test('holds the sender of a snapshot back to the pace of its receiver', async () => {
    const [a, b] = [await endpoint(1), await endpoint(2)];
    a.transport.setPeers(new Map([[2, b.address]]));
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let read = 0;
    async function* large(): AsyncIterable<Uint8Array> {
      for (; read < 200; read++) yield new Uint8Array(256 << 10);
    }
    b.transport.onSnapshot(async (_message, chunks) => {
      for await (const chunk of chunks) if (chunk.length > 0) await held;
    });
    const sending = a.transport.sendSnapshot(installSnapshot, large(), new AbortController().signal);
    await eventually(() => read > 0);
    await new Promise<void>((resolve) => nodeRuntime.setTimer(200, resolve));
    // 50 MiB in all; what the connection buffers is a fraction of it.
    expect(read).toBeLessThan(100);
    release();
    await sending;
    expect(read).toBe(200);
  });

  test('ends the stream of a peer that sends a frame too large, or garbage; others go on', async () => {
    const [a, b, c] = [await endpoint(1), await endpoint(2, { frameBytesMax: 50_000 }), await endpoint(3)];
    const got: Message[] = [];
    b.transport.onMessages((messages) => got.push(...messages));
    let unreachable = 0;
    a.transport.onUnreachable(() => {
      unreachable += 1;
    });
    for (const { transport } of [a, c]) transport.setPeers(new Map([[2, b.address]]));
    a.transport.send(2, [append(1, 2, 60_000)]);
    await eventually(() => unreachable > 0);
    c.transport.send(2, [heartbeat(3, 2)]);
    await eventually(() => got.length > 0);
    expect(got).toEqual([heartbeat(3, 2)]);
  });

  test('refuses further nodes beyond its bound', async () => {
    const [a, b, c] = [await endpoint(1), await endpoint(2, { callersMax: 1 }), await endpoint(3)];
    let got = 0;
    b.transport.onMessages(() => {
      got += 1;
    });
    let refused = 0;
    c.transport.onUnreachable(() => {
      refused += 1;
    });
    for (const { transport } of [a, c]) transport.setPeers(new Map([[2, b.address]]));
    a.transport.send(2, [heartbeat(1, 2)]);
    await eventually(() => got === 1);
    c.transport.send(2, [heartbeat(3, 2)]);
    await eventually(() => refused > 0);
    expect(got).toBe(1);
  });

  test('lets a receiver take a snapshot without reading it', async () => {
    const [a, b] = [await endpoint(1), await endpoint(2)];
    a.transport.setPeers(new Map([[2, b.address]]));
    b.transport.onSnapshot(() => Promise.resolve());
    await a.transport.sendSnapshot(installSnapshot, pieces(2, 1000), new AbortController().signal);
  });

  test('a snapshot that is given up half-way fails on both sides', async () => {
    const [a, b] = [await endpoint(1), await endpoint(2)];
    a.transport.setPeers(new Map([[2, b.address]]));
    const abort = new AbortController();
    const received = new Promise<unknown>((resolve) => {
      b.transport.onSnapshot(async (_message, chunks) => {
        try {
          for await (const _chunk of chunks) abort.abort(new Error('given up'));
          resolve('complete');
        } catch (error) {
          resolve(error);
          throw error;
        }
      });
    });
    async function* endless(): AsyncIterable<Uint8Array> {
      for (;;) {
        yield new Uint8Array(300_000);
        await new Promise<void>((resolve) => nodeRuntime.setTimer(5, resolve));
      }
    }
    await expect(a.transport.sendSnapshot(installSnapshot, endless(), abort.signal)).rejects.toThrow();
    expect(await received).toBeInstanceOf(Error);
  });
});

test('three nodes with real disks, connections and time agree, survive the loss of the leader, and come back', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'raft-grpc-'));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  const ids = [1, 2, 3];
  const ends = new Map<NodeId, Endpoint>();
  for (const id of ids) ends.set(id, await endpoint(id));
  const peers = new Map([...ends].map(([id, end]) => [id, end.address]));
  const machines = new Map<NodeId, WordList>();
  const nodes = new Map<NodeId, RaftNode<number>>();
  const open = async (id: NodeId, transport: GrpcTransport) => {
    const machine = new WordList();
    machines.set(id, machine);
    const node = await RaftNode.open<number>({
      id,
      log: createWalLogStore({ directory: join(directory, String(id), 'log') }),
      snapshots: createFileSnapshotStore({ directory: join(directory, String(id), 'snapshots') }),
      machine,
      transport,
      runtime: nodeRuntime,
      bootstrap: { voters: ids, outgoing: [], learners: [], learnersNext: [], autoLeave: false },
      peers,
      tickMs: 30,
      snapshotEveryEntries: 50,
      keepEntries: 5,
    });
    nodes.set(id, node);
    cleanups.push(() => node.close({ transfer: false }));
  };
  for (const [id, { transport }] of ends) await open(id, transport);
  const leader = () => [...nodes.values()].find((node) => node.status().role === 'leader');
  await eventually(() => leader() !== undefined);
  const words = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => new TextEncoder().encode(String(from + i)));
  const first = leader();
  const proposeAll = (node: typeof first, data: Uint8Array[]) => {
    if (node === undefined) throw new Error('no leader');
    return Promise.all(data.map((one) => node.propose(one)));
  };
  const outcomes = await proposeAll(first, words(0, 200));
  expect(outcomes.map((outcome) => outcome.result)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
  const lost = first?.status().id ?? 0;
  await first?.close({ transfer: false });
  nodes.delete(lost);
  await eventually(() => leader() !== undefined);
  await proposeAll(leader(), words(200, 400));
  // Back on its old disk, at a new address.
  const back = await endpoint(lost);
  peers.set(lost, back.address);
  for (const node of nodes.values()) node.setPeers(peers);
  await open(lost, back.transport);
  await eventually(() => ids.every((id) => machines.get(id)?.words.length === 400));
  const expected = Array.from({ length: 400 }, (_, i) => String(i));
  for (const id of ids) expect(machines.get(id)?.words).toEqual(expected);
}, 20_000);
