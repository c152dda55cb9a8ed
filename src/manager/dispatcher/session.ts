import { unreachable } from '../../lib/assert.ts';
import type { Cancel, Clock } from '../../lib/clock.ts';
import { ClusterError } from '../../lib/errors.ts';
import type { Duplex } from '../../lib/stream.ts';
import {
  type AgentMessage,
  type ManagerMessage,
  reportsPerMessageMax,
  type TaskReport,
} from '../../model/assignment.ts';
import type { NodeDescription } from '../../model/objects.ts';
import type { Identity } from '../../rpc/port.ts';

export type NetworkAck = Extract<AgentMessage, { kind: 'networkAck' }>;
export type LogMessage = Extract<AgentMessage, { kind: 'log' | 'logEnd' }>;

/** What the dispatcher does about what a session hears. A thrown ClusterError ends the session with it. */
export interface SessionEvents {
  hello(session: Session, description: NodeDescription, addr: string): void;
  describe(session: Session, description: NodeDescription): void;
  beat(session: Session): void;
  leaving(session: Session): void;
  status(session: Session, reports: readonly TaskReport[]): void;
  networkAck(session: Session, message: NetworkAck): void;
  log(session: Session, message: LogMessage): void;
  closed(session: Session, error: Error | undefined): void;
}

export interface SessionOptions {
  readonly stream: Duplex<ManagerMessage, AgentMessage>;
  readonly identity: Identity;
  readonly peerAddress: string;
  readonly clock: Clock;
  readonly helloLimitMs: number;
  readonly events: SessionEvents;
}

type Hello = Extract<AgentMessage, { kind: 'hello' }>;

/** An agent that is not welcome yet has little to say. */
const waitingMax = 1_000;

/** One agent's stream: checks the order of messages, passes them on, and closes exactly once. */
export class Session {
  readonly nodeId: string;
  readonly peerAddress: string;
  readonly #stream: Duplex<ManagerMessage, AgentMessage>;
  readonly #events: SessionEvents;
  readonly #clock: Clock;
  readonly #cancelHello: Cancel;
  /** What came after the hello while that waits for its turn. */
  #waiting: AgentMessage[] | undefined;
  #state: 'opened' | 'registered' | 'closed' = 'opened';

  constructor({ stream, identity, peerAddress, clock, helloLimitMs, events }: SessionOptions) {
    this.nodeId = identity.nodeId;
    this.peerAddress = peerAddress;
    this.#stream = stream;
    this.#events = events;
    this.#clock = clock;
    this.#cancelHello = clock.timer(helloLimitMs, () =>
      this.close(new ClusterError('deadline', 'no hello from the agent')),
    );
    stream.onClose((error) => this.#closed(error));
    stream.onMessage((message) => this.#receive(message));
  }

  get open(): boolean {
    return this.#state !== 'closed';
  }

  send(message: ManagerMessage): boolean {
    return this.#state !== 'closed' && this.#stream.send(message);
  }

  close(error?: Error): void {
    if (this.#state === 'closed') return;
    this.#closed(error);
    this.#stream.close(error);
  }

  #receive(message: AgentMessage): void {
    if (this.#state === 'closed') return;
    this.#guarded(() => {
      if (this.#waiting === undefined) this.#handle(message);
      else if (this.#waiting.push(message) > waitingMax)
        throw new ClusterError('exhausted', 'too many messages before the welcome');
    });
  }

  /** What is refused ends the session. */
  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      this.close(error);
    }
  }

  #handle(message: AgentMessage): void {
    if ((message.kind === 'hello') !== (this.#state === 'opened')) {
      throw new ClusterError('invalid', `unexpected ${message.kind} in a session`);
    }
    switch (message.kind) {
      case 'hello':
        this.#cancelHello();
        this.#state = 'registered';
        return this.#register(message);
      case 'describe':
        return this.#events.describe(this, message.description);
      case 'beat':
        return this.#events.beat(this);
      case 'leaving':
        return this.#events.leaving(this);
      case 'status':
        if (message.reports.length > reportsPerMessageMax)
          throw new ClusterError('invalid', 'too many task statuses in one message');
        return this.#events.status(this, message.reports);
      case 'networkAck':
        return this.#events.networkAck(this, message);
      case 'log':
      case 'logEnd':
        return this.#events.log(this, message);
      default:
        return unreachable(message);
    }
  }

  /** To a new leader all nodes come at once, and each is told everything: a few in one turn, so that beats are heard meanwhile. */
  #register({ description, addr }: Hello): void {
    this.#waiting = [];
    this.#clock.defer(() => {
      const waiting = this.#waiting ?? [];
      this.#waiting = undefined;
      if (this.#state === 'closed') return;
      this.#guarded(() => this.#events.hello(this, description, addr));
      for (const message of waiting) this.#receive(message);
    });
  }

  #closed(error: Error | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#cancelHello();
    this.#events.closed(this, error);
  }
}
