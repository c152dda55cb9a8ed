/**
 * Keeps a session with the leader, whichever manager that is: finds it, says hello, beats, notices a dead connection, and tries
 * again with growing pauses. What the managers say is passed on; what it means is the agent's business.
 */
import { type Cancel, type Clock, sleep } from '../lib/clock.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { fraction, type Random } from '../lib/random.ts';
import type { Duplex } from '../lib/stream.ts';
import type { AgentMessage, ManagerMessage, ManagerPeer } from '../model/assignment.ts';
import type { NodeDescription } from '../model/objects.ts';
import type { Dialer, Peer } from '../rpc/port.ts';

export interface SessionOptions {
  readonly dialer: Dialer;
  /** Who this node is reached as. */
  readonly addr: string;
  readonly describe: () => Promise<NodeDescription>;
  readonly managers: readonly ManagerPeer[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The managers took us in. */
  readonly opened: () => void;
  readonly closed: () => void;
  readonly received: (message: ManagerMessage) => void;
  /** A manager said that this node was removed: this session is over for good. */
  readonly removed: () => void;
}

const backoffFirstMs = 100;
const backoffMaxMs = 2_000;
/** From the first byte to `welcome`: a manager that does not answer costs this much. */
const welcomeLimitMs = 3_000;
/** Redirects followed in a row without a pause. */
const redirectsMax = 3;
const missedBeatsMax = 3;
const managersMax = 100;

type End = { readonly redirect?: ManagerPeer | null; readonly error?: Error; readonly removed?: true };

export class ManagerSession {
  readonly #options: SessionOptions;
  readonly #stopping = new AbortController();
  #managers: readonly ManagerPeer[];
  /** By address: which try failed there last. The least recently failed one is tried first. */
  readonly #failures = new Map<string, number>();
  #tries = 0;
  #told = '';
  #connection: Connection | undefined;
  #done: Promise<void> = Promise.resolve();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#managers = options.managers;
  }

  get open(): boolean {
    return this.#connection?.welcomed ?? false;
  }

  start(): void {
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#connection?.finish({});
    await this.#done;
  }

  setManagers(peers: readonly ManagerPeer[]): void {
    if (peers.length === 0) return;
    this.#managers = peers.slice(0, managersMax);
    for (const addr of this.#failures.keys())
      if (!this.#managers.some((peer) => peer.addr === addr)) this.#failures.delete(addr);
  }

  send(message: AgentMessage): boolean {
    return this.#connection?.send(message) ?? false;
  }

  /** Gives this session up for a new one, e.g. after a gap, or to show a new certificate. */
  restart(reason: string): void {
    this.#connection?.finish({ error: new ClusterError('cancelled', reason) });
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    let target: ManagerPeer | undefined;
    let redirects = 0;
    let failures = 0;
    while (!signal.aborted) {
      const manager = target ?? this.#pick();
      const { end, welcomed } = await this.#attempt(manager);
      if (signal.aborted) return;
      if (end.removed === true) return this.#options.removed();
      target = undefined;
      if (welcomed) failures = 0;
      const leader = end.redirect;
      redirects = welcomed ? 0 : redirects;
      if (leader !== undefined && leader !== null && leader.addr !== manager?.addr && redirects < redirectsMax) {
        redirects += 1;
        target = leader;
        continue;
      }
      redirects = 0;
      if (manager !== undefined) this.#failures.set(manager.addr, ++this.#tries);
      this.#explain(manager, { end, welcomed });
      await this.#pause(failures);
      failures += 1;
    }
  }

  async #attempt(manager: ManagerPeer | undefined): Promise<{ end: End; welcomed: boolean }> {
    if (manager === undefined)
      return { end: { error: new ClusterError('unavailable', 'no manager is known') }, welcomed: false };
    const { clock, describe, dialer, addr, opened, closed, received } = this.#options;
    let peer: Peer | undefined;
    try {
      const description = await describe();
      if (this.#stopping.signal.aborted) return { end: {}, welcomed: false };
      peer = dialer.dial(manager.addr);
      const connection = new Connection({ stream: peer.openSession(), clock, opened, received });
      this.#connection = connection;
      connection.start({ kind: 'hello', description, addr });
      const end = await connection.ended;
      if (connection.welcomed) closed();
      return { end, welcomed: connection.welcomed };
    } catch (error) {
      return { end: { error: error instanceof Error ? error : new Error(String(error)) }, welcomed: false };
    } finally {
      this.#connection = undefined;
      peer?.close();
    }
  }

  /** Says why there is no session, once per reason: an agent that cannot register must not be silent, nor fill the log. */
  #explain(
    manager: ManagerPeer | undefined,
    { end, welcomed }: { readonly end: End; readonly welcomed: boolean },
  ): void {
    const reason = end.error === undefined ? 'closed' : messageOf(end.error);
    if (!welcomed && reason === this.#told) return;
    this.#told = welcomed ? '' : reason;
    this.#options.log.warn(welcomed ? 'session with the managers ended' : 'no session with the managers', {
      manager: manager?.addr,
      reason,
    });
  }

  /** One of those that failed longest ago or never, by chance: the agents of a cluster must not all turn to the same manager. */
  #pick(): ManagerPeer | undefined {
    const { random } = this.#options;
    const untried = this.#managers.filter((peer) => !this.#failures.has(peer.addr));
    if (untried.length > 0) return untried[Math.floor(fraction(random) * untried.length)];
    const age = (peer: ManagerPeer) => this.#failures.get(peer.addr) ?? 0;
    return this.#managers.reduce<ManagerPeer | undefined>(
      (oldest, peer) => (oldest === undefined || age(peer) < age(oldest) ? peer : oldest),
      undefined,
    );
  }

  async #pause(failures: number): Promise<void> {
    const { clock, random } = this.#options;
    const limitMs = Math.min(backoffMaxMs, backoffFirstMs * 2 ** Math.min(failures, 10));
    await sleep(clock, limitMs * (0.5 + fraction(random) / 2), this.#stopping.signal).catch(() => {});
  }
}

interface ConnectionOptions {
  readonly stream: Duplex<AgentMessage, ManagerMessage>;
  readonly clock: Clock;
  readonly opened: () => void;
  readonly received: (message: ManagerMessage) => void;
}

/** One stream, from hello to its end. */
class Connection {
  readonly ended: Promise<End>;
  readonly #options: ConnectionOptions;
  #resolve: (end: End) => void = () => {};
  #welcomed = false;
  #finished = false;
  #heartbeatMs = 1_000;
  /** Beats since the managers were heard last. */
  #unanswered = 0;
  #cancelTimer: Cancel = () => {};

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get welcomed(): boolean {
    return this.#welcomed;
  }

  start(hello: AgentMessage): void {
    const { stream, clock } = this.#options;
    this.#cancelTimer = clock.timer(welcomeLimitMs, () =>
      this.finish({ error: new ClusterError('deadline', 'no answer from the manager') }),
    );
    stream.onClose((error) =>
      this.finish({ error: error ?? new ClusterError('unavailable', 'the manager closed the session') }),
    );
    stream.onMessage((message) => this.#receive(message));
    this.send(hello);
  }

  send(message: AgentMessage): boolean {
    return !this.#finished && this.#options.stream.send(message);
  }

  finish(end: End): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#cancelTimer();
    this.#options.stream.close();
    this.#resolve(end);
  }

  #receive(message: ManagerMessage): void {
    if (this.#finished) return;
    this.#unanswered = 0;
    if (message.kind === 'redirect')
      return this.finish({ redirect: message.leader, error: new ClusterError('unavailable', 'not the leader') });
    // Only this message: an error, even a refusal, may come from a network or a clock that is wrong.
    if (message.kind === 'removed') return this.finish({ removed: true });
    if (message.kind === 'welcome') return this.#welcome(message.heartbeatMs);
    if (message.kind === 'beatAck') return this.#newPeriod(message.heartbeatMs);
    if (this.#welcomed) this.#options.received(message);
  }

  #welcome(heartbeatMs: number): void {
    if (this.#welcomed) return;
    this.#welcomed = true;
    this.#cancelTimer();
    this.#newPeriod(heartbeatMs);
    this.#schedule();
    this.#options.opened();
  }

  #newPeriod(heartbeatMs: number): void {
    if (heartbeatMs >= 1) this.#heartbeatMs = heartbeatMs;
  }

  #schedule(): void {
    this.#cancelTimer = this.#options.clock.timer(this.#heartbeatMs, () => this.#tick());
  }

  /** Counts beats, not time: after this process itself stood still, the answers that wait unread get their chance. */
  #tick(): void {
    if (this.#unanswered >= missedBeatsMax - 1) {
      this.finish({ error: new ClusterError('deadline', `no answer to ${missedBeatsMax - 1} beats`) });
      return;
    }
    this.#unanswered += 1;
    this.send({ kind: 'beat' });
    this.#schedule();
  }
}
