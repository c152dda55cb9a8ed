/**
 * One manager: a member of the Raft group with a copy of the state. While it leads, the loops below run here and nowhere
 * else. This file only composes; `service.ts` is what other nodes may ask, `backend.ts` what the HTTP API may ask.
 */
import type { Clock } from '../lib/clock.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Random } from '../lib/random.ts';
import type { ManagerPeer } from '../model/assignment.ts';
import type { Control } from '../model/control.ts';
import { newJoinToken } from '../pki/join-token.ts';
import type { Dialer, ManagerService } from '../rpc/port.ts';
import { createAllocator } from './allocator/index.ts';
import { Backend } from './backend.ts';
import { CertificateAuthority } from './ca/ca.ts';
import { type Consensus, noLeaderMessage } from './consensus.ts';
import { createControlApi } from './controlapi/index.ts';
import { createDispatcher, type Dispatcher } from './dispatcher/index.ts';
import { createLogBroker, type LogBroker } from './logs/index.ts';
import { createOrchestrators } from './orchestrator/index.ts';
import { createPlacement } from './placement/index.ts';
import { createRoles } from './roles/loop.ts';
import { PeerService } from './service.ts';
import type { LeaderLoop, Store } from './store/port.ts';

export interface ManagerOptions {
  readonly nodeId: string;
  readonly store: Store;
  readonly consensus: Consensus;
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Writes the first objects of a new cluster; called by its first leader, before any loop runs. */
  readonly bootstrap?: (store: Store) => Promise<void>;
}

/** What exists only while this manager leads. */
export interface Leadership {
  readonly dispatcher: Dispatcher;
  readonly broker: LogBroker;
  readonly control: Control;
  readonly ca: CertificateAuthority;
}

const retryMs = 500;

export class Manager {
  readonly service: ManagerService;
  readonly backend: Backend;
  readonly #options: ManagerOptions;
  #leadership: Leadership | undefined;
  #loops: readonly LeaderLoop[] = [];
  /** What Raft said last; the loops follow it, one transition at a time. */
  #elected = false;
  /** How often Raft said that leadership was lost. What began before a loss ends, also when leadership came back at once. */
  #losses = 0;
  #lossesWhenLed = 0;
  #transition: Promise<void> = Promise.resolve();
  #unsubscribe = () => {};
  #cancelRetry = () => {};

  constructor(options: ManagerOptions) {
    this.#options = options;
    const leadership = () => this.#leading();
    this.service = new PeerService({ ...options, leadership });
    this.backend = new Backend({ ...options, leadership });
  }

  start(): void {
    this.#unsubscribe = this.#options.consensus.onLeadership((isLeader) => this.#follow(isLeader));
    this.#follow(this.#options.consensus.isLeader());
  }

  /** Resolves when nothing leader-only runs any more. The Raft member is its owner's to close. */
  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#follow(false);
    await this.#transition;
    this.backend.close();
  }

  #leading(): Leadership {
    if (this.#leadership === undefined || this.#isStale()) throw new ClusterError('unavailable', noLeaderMessage);
    return this.#leadership;
  }

  #follow(elected: boolean): void {
    this.#elected = elected;
    if (!elected) this.#losses += 1;
    this.#cancelRetry();
    this.#transition = this.#transition.then(() => this.#settle()).catch((error) => this.#tryAgain(error));
  }

  /** Elected, but not able to act yet: Raft itself decides when that is over. */
  #tryAgain(error: unknown): void {
    if (!this.#elected) return;
    const { clock, log } = this.#options;
    log.warn('cannot lead yet', { reason: messageOf(error) });
    this.#cancelRetry = clock.timer(retryMs, () => this.#follow(this.#elected));
  }

  /** Brings the loops in line with what Raft said last. */
  async #settle(): Promise<void> {
    if (this.#leadership !== undefined && this.#isStale()) await this.#resign();
    if (this.#leadership === undefined && this.#elected) await this.#lead();
  }

  #isStale(): boolean {
    return this.#losses !== this.#lossesWhenLed;
  }

  async #lead(): Promise<void> {
    const { consensus, store, bootstrap, log } = this.#options;
    const losses = this.#losses;
    await consensus.readBarrier(); // acting on an old copy would undo what the last leader did
    if (store.view.cluster() === undefined) await bootstrap?.(store);
    if (losses !== this.#losses) return; // the next transition looks again
    this.#lossesWhenLed = losses;
    this.#leadership = this.#assemble();
    for (const loop of this.#loops) loop.start();
    log.info('leading the cluster', { version: store.view.version });
  }

  async #resign(): Promise<void> {
    this.#leadership = undefined;
    await Promise.all(this.#loops.map((loop) => loop.stop()));
    this.#loops = [];
    this.#options.log.info('no longer leading');
  }

  #assemble(): Leadership {
    const { store, clock, random, log, consensus, nodeId } = this.#options;
    const dispatcher = createDispatcher({
      store,
      clock,
      random,
      log: log.part('dispatcher'),
      managers: () => peersOf(consensus),
    });
    const broker = createLogBroker({ store, dispatcher, clock, random, log: log.part('logs') });
    const roles = createRoles({
      store,
      clock,
      log: log.part('roles'),
      membership: {
        selfNodeId: nodeId,
        members: () => consensus.members(),
        remove: (id) => consensus.removeMember(id),
        handOver: () => consensus.transferLeadership(),
      },
    });
    this.#loops = [
      dispatcher,
      createAllocator({ store, clock, log: log.part('allocator') }),
      createPlacement({ store, clock, log: log.part('placement') }),
      ...createOrchestrators({ store, clock, random, log: log.part('orchestrator') }),
      roles,
    ];
    const control = createControlApi({
      store,
      random,
      log: log.part('control'),
      makeJoinToken: (caPem) => newJoinToken(caPem, random),
      members: () => consensus.members(),
    });
    return { dispatcher, broker, control, ca: new CertificateAuthority({ store, clock, random }) };
  }
}

export function peersOf(consensus: Consensus): readonly ManagerPeer[] {
  return consensus.members().map(({ nodeId, addr }) => ({ nodeId, addr }));
}
