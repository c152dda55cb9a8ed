/**
 * One manager in this process, which is measured; agents in another process. Two more managers, each in its own process, join when
 * they are told to; once the first one is lost, the agents' streams lead to whichever of them is elected.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { newNode } from '../../src/manager/ca/ca.ts';
import type { Manager } from '../../src/manager/manager.ts';
import type { Store } from '../../src/manager/store/port.ts';
import { defaultClusterSpec } from '../../src/model/defaults.ts';
import type { Order, Parcel } from './link.ts';
import { freeAddress, Member, type MemberInfo } from './member.ts';
import type { PeerNews, PeerOrder } from './peer.ts';
import { Sessions } from './sessions.ts';

const peerNames = ['manager2', 'manager3'];

export class ScaleCluster {
  readonly member: Member;
  readonly #agents: ChildProcess;
  readonly #sessions: Sessions;
  readonly #peers: Peer[] = [];
  /** Where the agents' streams lead; undefined: this process. */
  readonly #routes = new Map<number, Peer>();
  #isLost = false;

  static async open(nodes: number): Promise<ScaleCluster> {
    const self = { raftId: 1, nodeId: 'manager1', addr: await freeAddress() };
    const member = await Member.open({ self, members: [], bootstrap: (store) => bootstrap(store, nodes) });
    return new ScaleCluster(member, nodes);
  }

  private constructor(member: Member, nodes: number) {
    this.member = member;
    this.#sessions = new Sessions(member.manager.service, (parcels) => this.#order({ kind: 'parcels', parcels }));
    this.#agents = forked('./agents.ts');
    this.#agents.on('message', (parcels: readonly Parcel[]) => this.#route(parcels));
    this.#order({ kind: 'start', nodes });
  }

  get control(): Manager['backend'] {
    return this.member.manager.backend;
  }

  /** The node's cable is cut. */
  silence(node: number): void {
    this.#order({ kind: 'silence', node });
  }

  /** Resolves when the others have all that this one has. */
  async addManagers(until: (holds: () => boolean) => Promise<void>): Promise<void> {
    const { raft } = this.member;
    for (const name of peerNames) {
      const peer = new Peer(name, (parcels) => this.#order({ kind: 'parcels', parcels }));
      this.#peers.push(peer);
      const { addr } = await peer.heard('address');
      const { raftId } = await raft.addMember(name, addr);
      await peer.ask({ kind: 'open', self: { raftId, nodeId: name, addr }, members: infosOf(raft) }, 'opened');
      await until(() => raft.status().conf.voters.includes(raftId));
    }
  }

  /** This manager is gone from one moment to the next. Resolves with the one that is elected. */
  async loseLeader(): Promise<Peer> {
    this.#isLost = true;
    this.#sessions.cut();
    const [leader] = await Promise.all([Promise.race(this.#peers.map((peer) => peer.elected())), this.member.close()]);
    return leader;
  }

  get peers(): readonly Peer[] {
    return this.#peers;
  }

  async close(): Promise<void> {
    this.#agents.disconnect();
    for (const peer of this.#peers) peer.close();
    await this.member.close();
  }

  #order(order: Order): void {
    if (this.#agents.connected) this.#agents.send(order);
  }

  #route(parcels: readonly Parcel[]): void {
    if (!this.#isLost) return this.#sessions.arrive(parcels);
    const leader = this.#peers.find((peer) => peer.leads);
    const refused: Parcel[] = [];
    const forwarded = new Map<Peer, Parcel[]>();
    for (const parcel of parcels) {
      const { kind, stream } = parcel;
      if (kind === 'open' && leader === undefined) refused.push({ kind: 'close', stream });
      if (kind === 'open' && leader !== undefined) this.#routes.set(stream, leader);
      const peer = this.#routes.get(stream);
      if (peer === undefined) continue;
      if (kind === 'close') this.#routes.delete(stream);
      const batch = forwarded.get(peer) ?? [];
      batch.push(parcel);
      forwarded.set(peer, batch);
    }
    for (const [peer, batch] of forwarded) peer.order({ kind: 'parcels', parcels: batch });
    if (refused.length > 0) this.#order({ kind: 'parcels', parcels: refused });
  }
}

type NewsOf<K extends PeerNews['kind']> = Extract<PeerNews, { kind: K }>;

/** Another manager's process, seen from here. */
export class Peer {
  readonly name: string;
  leads = false;
  readonly #process: ChildProcess;
  readonly #waiting = new Map<PeerNews['kind'], (news: PeerNews) => void>();
  #elected = () => {};

  constructor(name: string, toAgents: (parcels: readonly Parcel[]) => void) {
    this.name = name;
    this.#process = forked('./peer.ts');
    this.#process.on('message', (news: PeerNews) => {
      if (news.kind === 'parcels') return toAgents(news.parcels);
      if (news.kind === 'leads') {
        this.leads = news.leads;
        if (news.leads) this.#elected();
      }
      this.#waiting.get(news.kind)?.(news);
      this.#waiting.delete(news.kind);
      return undefined;
    });
  }

  order(order: PeerOrder): void {
    if (this.#process.connected) this.#process.send(order);
  }

  /** One question of a kind at a time. */
  heard<K extends PeerNews['kind']>(kind: K): Promise<NewsOf<K>> {
    return new Promise((resolve) => this.#waiting.set(kind, (news) => resolve(news as NewsOf<K>)));
  }

  ask<K extends PeerNews['kind']>(order: PeerOrder, answer: K): Promise<NewsOf<K>> {
    const heard = this.heard(answer);
    this.order(order);
    return heard;
  }

  elected(): Promise<Peer> {
    return new Promise((resolve) => {
      this.#elected = () => resolve(this);
      if (this.leads) resolve(this);
    });
  }

  close(): void {
    this.#process.disconnect();
  }
}

function forked(file: string): ChildProcess {
  return fork(fileURLToPath(new URL(file, import.meta.url)), { serialization: 'advanced' });
}

function infosOf(raft: Member['raft']): readonly MemberInfo[] {
  return raft.members().map(({ raftId, nodeId, addr }) => ({ raftId, nodeId, addr }));
}

async function bootstrap(store: Store, nodes: number): Promise<void> {
  await store.transact((tx) =>
    tx.create('cluster', {
      id: 'scale',
      spec: defaultClusterSpec,
      rootCa: { certPem: '', keyPem: '', joinTokens: { worker: 'w', manager: 'm' } },
      removedNodes: {},
      nextRaftId: 2,
    }),
  );
  const numbers = Array.from({ length: nodes }, (_, at) => at);
  await store.batch(numbers, (tx, at) => tx.create('node', newNode(`node${at}`, 'worker', 'active', tx.now)));
  // Members that are no nodes would be taken out of the group. No agent registers for them.
  const names = ['manager1', ...peerNames];
  await store.batch(names, (tx, name) => tx.create('node', newNode(name, 'manager', 'drain', tx.now)));
}
