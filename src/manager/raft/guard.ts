/**
 * Notices that this member was taken out of the group while it could not hear of it: demoted and promoted again while its daemon was
 * down, it comes back under an id that nobody speaks to any more. A member that knows no leader for a while asks the other managers
 * whether it is still one of them. Only the leader's own answer counts: silence, errors and refusals change nothing.
 */
import type { Cancel, Clock } from '../../lib/clock.ts';
import { ClusterError, messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Dialer } from '../../rpc/port.ts';
import type { RaftManager } from './manager.ts';
import type { Member } from './members.ts';

export interface MembershipGuardOptions {
  readonly raft: Pick<RaftManager, 'leader' | 'isMember' | 'members' | 'onLeadership' | 'onRemoved'>;
  readonly self: Member;
  /** Known before the log says more. */
  readonly members: readonly Member[];
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly log: Log;
  /** Called once: the id is gone for good. The group would take this node in under a new one. */
  readonly obsolete: () => void;
}

/** Elections are over by then. */
const silenceMs = 3_000;
const againMs = 3_000;
const redirectsMax = 2;

export class MembershipGuard {
  readonly #options: MembershipGuardOptions;
  #timer: Cancel | undefined;
  #unsubscribe: readonly (() => void)[] = [];
  #running = false;
  #asking = false;

  constructor(options: MembershipGuardOptions) {
    this.#options = options;
  }

  start(): void {
    const { raft } = this.#options;
    this.#running = true;
    this.#unsubscribe = [raft.onLeadership(() => this.#look()), raft.onRemoved(() => this.#askIn(0))];
    this.#look();
  }

  stop(): void {
    this.#running = false;
    this.#timer?.();
    this.#timer = undefined;
    for (const each of this.#unsubscribe) each();
    this.#unsubscribe = [];
  }

  #look(): void {
    if (this.#isUncertain()) {
      if (this.#timer === undefined && !this.#asking) this.#askIn(silenceMs);
    } else {
      this.#timer?.();
      this.#timer = undefined;
    }
  }

  #askIn(delayMs: number): void {
    if (!this.#running || this.#asking) return;
    this.#timer?.();
    this.#timer = this.#options.clock.timer(delayMs, () => {
      this.#timer = undefined;
      if (this.#isUncertain()) void this.#ask();
    });
  }

  /** Also while its own log does not have it as a member: a newcomer that was taken out at once never hears of it. */
  #isUncertain(): boolean {
    const { raft } = this.#options;
    return raft.leader() === undefined || !raft.isMember();
  }

  async #ask(): Promise<void> {
    const { log, self, obsolete } = this.#options;
    this.#asking = true;
    let answer: 'member' | 'gone' | 'unknown' = 'unknown';
    for (const addr of this.#others()) {
      answer = await this.#askOne(addr).catch((error) => {
        log.debug('asking whether this manager is still a member', { manager: addr, reason: messageOf(error) });
        return 'unknown' as const;
      });
      if (answer !== 'unknown' || !this.#running) break;
    }
    this.#asking = false;
    if (!this.#running) return;
    if (answer === 'gone') {
      log.warn('this manager was taken out of the raft group while it was away', { raftId: self.raftId });
      this.stop();
      return obsolete();
    }
    if (this.#isUncertain()) this.#askIn(againMs);
  }

  #others(): readonly string[] {
    const { raft, self, members } = this.#options;
    const all = [...raft.members(), ...members].map(({ addr }) => addr);
    return [...new Set(all)].filter((addr) => addr !== self.addr);
  }

  async #askOne(first: string): Promise<'member' | 'gone' | 'unknown'> {
    const { dialer, self } = this.#options;
    let addr = first;
    for (let redirects = 0; redirects <= redirectsMax; redirects++) {
      const peer = dialer.dial(addr);
      const answer = await peer.joinRaft({ addr: self.addr, raftId: self.raftId }).finally(() => peer.close());
      if (answer.redirect === undefined) return answer.raftId === self.raftId ? 'member' : 'gone';
      addr = answer.redirect;
      if (addr === self.addr) break;
    }
    throw new ClusterError('unavailable', 'nobody leads');
  }
}
