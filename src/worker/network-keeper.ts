/**
 * Hands the networks' state to the executor, one after the other: of those that wait only the newest is applied. Tells the
 * managers which version is in place, and what could not be done; again when that changes by itself. A version that could not be put
 * in place is not acknowledged: a task would be stopped to which this node still leads.
 */
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { Loop } from '../lib/loop.ts';
import { type AgentMessage, networkProblemsMax } from '../model/assignment.ts';
import type { NetworkSet, NetworkState } from '../model/network.ts';
import type { NetworkProblem } from '../model/objects.ts';
import type { NodeNetworks } from './executor/port.ts';
import { NetworkInbox } from './network-inbox.ts';

export interface NetworkKeeperOptions {
  /** Absent: there is nothing to apply, and every state is in place. */
  readonly networks: NodeNetworks | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly send: (message: AgentMessage) => void;
}

/** After an apply that threw: the state is tried again, for nobody else would. */
const retryMs = 1_000;
/** What the managers keep; a longer one would end the session. */
const problemCharsMax = 500;

export class NetworkKeeper {
  readonly #options: NetworkKeeperOptions;
  readonly #inbox = new NetworkInbox();
  readonly #loop: Loop;
  /** Versions are those of a session: what an earlier one said must not be acknowledged in this. */
  #session = 0;
  #waiting = false;
  /** Of this session; the last one that was handed over, in place or not. */
  #told: NetworkState | undefined;
  /** Of this session. */
  #applied = 0;
  #stopped = false;

  constructor(options: NetworkKeeperOptions) {
    this.#options = options;
    this.#loop = new Loop(
      options.clock,
      () => this.#apply(),
      (error) => this.#failed(error),
    );
    options.networks?.onProblems((problems) => this.#acknowledge(problems));
  }

  /** A new session begins, with a full set. */
  reset(): void {
    this.#session += 1;
    this.#told = undefined;
    this.#applied = 0;
    this.#inbox.reset();
    this.#waiting = false;
  }

  /** False: something is missing. */
  add(part: NetworkSet): boolean {
    const outcome = this.#inbox.add(part);
    if (outcome === 'applied') this.#take();
    return outcome !== 'gap';
  }

  stop(): Promise<void> {
    this.#stopped = true;
    return this.#loop.stop();
  }

  #take(): void {
    this.#waiting = true;
    this.#loop.trigger();
  }

  async #apply(): Promise<void> {
    const state = this.#inbox.state();
    if (!this.#waiting || this.#stopped || state === undefined) return;
    this.#waiting = false;
    const session = this.#session;
    const problems = (await this.#options.networks?.apply(state)) ?? [];
    if (session !== this.#session || this.#stopped) return;
    this.#told = state;
    this.#acknowledge(problems);
  }

  #failed(error: unknown): void {
    const { clock, log } = this.#options;
    log.error('applying the state of the networks', { reason: messageOf(error) });
    clock.timer(retryMs, () => this.#take());
  }

  #isInPlace(state: NetworkState): boolean {
    const { networks } = this.#options;
    return networks?.inPlace === undefined || networks.inPlace() === state;
  }

  #acknowledge(problems: readonly NetworkProblem[]): void {
    if (this.#told !== undefined && this.#isInPlace(this.#told)) this.#applied = this.#told.version;
    if (this.#applied === 0 || this.#stopped) return; // there is nothing that they have said in place
    this.#options.send({
      kind: 'networkAck',
      version: this.#applied,
      problems: problems.slice(0, networkProblemsMax).map(shortened),
    });
  }
}

function shortened(problem: NetworkProblem): NetworkProblem {
  return { ...problem, message: problem.message.slice(0, problemCharsMax) };
}
