/** One real manager: store, Raft with its sealed log on disk and gRPC between the members, control API and all leader loops. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import { GrpcTransport, raftService } from 'raft-ts/grpc';
import { silentLog } from '../../src/lib/log.ts';
import { realClock, realRandom, terminalLog } from '../../src/lib/real.ts';
import { Manager, type ManagerOptions } from '../../src/manager/manager.ts';
import { RaftManager } from '../../src/manager/raft/manager.ts';
import type { Member as MemberInfo } from '../../src/manager/raft/members.ts';
import { raftRuntime } from '../../src/manager/raft/runtime.ts';
import { openRaftStorage } from '../../src/manager/raft/storage.ts';
import { MemoryStore } from '../../src/manager/store/store.ts';
import { Census } from './census.ts';

export type { MemberInfo };

export interface MemberOptions {
  readonly self: MemberInfo;
  /** The others; none: it founds the group. */
  readonly members: readonly MemberInfo[];
  readonly bootstrap?: ManagerOptions['bootstrap'];
}

export class Member {
  readonly store: MemoryStore;
  readonly census: Census;
  readonly directory: string;
  readonly raft: RaftManager;
  readonly manager: Manager;
  readonly #server: Server;

  static async open(options: MemberOptions): Promise<Member> {
    const { self, members } = options;
    const directory = await mkdtemp(join(tmpdir(), 'tscluster-scale-'));
    const store = new MemoryStore({
      proposer: null,
      now: () => realClock.now(),
      defer: (run) => realClock.defer(run),
    });
    const census = new Census(store);
    const log = process.env['TSCLUSTER_TRACE'] === undefined ? silentLog : terminalLog(new Set(['all']), self.nodeId);
    const runtime = raftRuntime(realClock, realRandom);
    const transport = new GrpcTransport({
      id: self.raftId,
      cluster: 'scale',
      runtime,
      credentials: credentials.createInsecure(),
    });
    const server = await listen(transport, self.addr);
    const raft = await RaftManager.open({
      self,
      store,
      ports: { ...(await openRaftStorage({ directory, random: realRandom })), transport, runtime },
      clock: realClock,
      log,
      bootstrap: members.length === 0,
      members,
    });
    raft.onFault((fault) => {
      throw fault;
    });
    const dial = () => {
      throw new Error('no manager calls another one here, but for Raft');
    };
    const manager = new Manager({
      nodeId: self.nodeId,
      store,
      consensus: raft,
      dialer: { dial },
      clock: realClock,
      random: realRandom,
      log,
      ...(options.bootstrap === undefined ? {} : { bootstrap: options.bootstrap }),
    });
    manager.start();
    return new Member({ store, census, directory, raft, manager, server });
  }

  private constructor(parts: Pick<Member, 'store' | 'census' | 'directory' | 'raft' | 'manager'> & { server: Server }) {
    this.store = parts.store;
    this.census = parts.census;
    this.directory = parts.directory;
    this.raft = parts.raft;
    this.manager = parts.manager;
    this.#server = parts.server;
  }

  /** Falls silent at once, as though its host had lost power: nobody is told, leadership is not handed over. */
  async close(): Promise<void> {
    this.#server.forceShutdown();
    await this.raft.close({ transfer: false });
    await this.manager.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}

async function listen(transport: GrpcTransport, addr: string): Promise<Server> {
  const server = new Server({ 'grpc.max_receive_message_length': 64 << 20 });
  const { definition, implementation } = raftService(transport);
  server.addService(definition, implementation);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(addr, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error)));
  });
  return server;
}

/** An address on this host that is free now. */
export async function freeAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no address');
  return `127.0.0.1:${address.port}`;
}
