/** The daemon's end of the connection to the names process. */
import { connect, type Socket } from 'node:net';
import { type Clock, deadline } from '../../../lib/clock.ts';
import { type Deferred, deferred } from '../../../lib/deferred.ts';
import { ClusterError, messageOf } from '../../../lib/errors.ts';
import { type Hello, type Listen, onMessages, type Report, recordsPerLine, say } from './protocol.ts';
import { changesBetween, type NameRecords, noRecords, parts } from './records.ts';

const helloLimitMs = 2_000;
/** Longer than the process waits for its address. */
const answerLimitMs = 5_000;

export interface LinkEvents {
  /** It ended and nobody here ended it. */
  onLost(): void;
  onListening(): void;
}

export class Link {
  readonly hello: Hello;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #lost = deferred<never>();
  #told: NameRecords | undefined;
  #number = 0;
  #waiting: { readonly number: number; readonly answer: Deferred<string | undefined> } | undefined;
  #events: LinkEvents | undefined;
  #isLost = false;

  private constructor(socket: Socket, clock: Clock, hello: Hello) {
    this.#socket = socket;
    this.#clock = clock;
    this.hello = hello;
    this.#lost.promise.catch(() => {});
  }

  /** Rejects when nobody listens there or does not greet in time. */
  static async open(path: string, clock: Clock): Promise<Link> {
    const socket = connect(path);
    const opened = deferred<Link>();
    let link: Link | undefined;
    socket.on('error', (error) => opened.reject(unavailable(messageOf(error))));
    socket.on('close', () => {
      opened.reject(unavailable('it closed the connection'));
      link?.lose();
    });
    onMessages<Report>(socket, (report) => {
      if (report.kind !== 'hello') return link?.hear(report);
      link ??= new Link(socket, clock, report);
      opened.resolve(link);
    });
    try {
      return await deadline(clock, helloLimitMs, opened.promise, () => unavailable('it does not greet'));
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  watch(events: LinkEvents): void {
    this.#events = events;
    if (this.#isLost) events.onLost();
  }

  /** Tells what changed, or everything the first time. Answers with what is in the way of answering. */
  async tell(records: NameRecords, listen: Listen | undefined): Promise<string | undefined> {
    const number = ++this.#number;
    const answer = deferred<string | undefined>();
    this.#waiting = { number, answer };
    if (this.#told === undefined) say(this.#socket, { kind: 'update', reset: true, changes: {} });
    for (const changes of parts(changesBetween(this.#told ?? noRecords, records), recordsPerLine)) {
      say(this.#socket, { kind: 'update', changes });
    }
    say(this.#socket, { kind: 'commit', number, ...(listen === undefined ? {} : { listen }) });
    const answered = Promise.race([answer.promise, this.#lost.promise]);
    const problem = await deadline(this.#clock, answerLimitMs, answered, () => unavailable('it does not answer'));
    this.#told = records;
    return problem;
  }

  /** Asks the process to end; resolves when it has, rejects when it does not. */
  async end(): Promise<void> {
    this.#events = undefined;
    say(this.#socket, { kind: 'end' });
    const ended = this.#lost.promise.catch(() => {});
    await deadline(this.#clock, helloLimitMs, ended, () => unavailable('it does not end'));
  }

  /** The process goes on. */
  close(): void {
    this.#events = undefined;
    this.#socket.destroy();
  }

  hear(report: Exclude<Report, Hello>): void {
    if (report.kind === 'listening') return this.#events?.onListening();
    if (report.number === this.#waiting?.number) this.#waiting.answer.resolve(report.problem);
  }

  lose(): void {
    this.#isLost = true;
    this.#lost.reject(unavailable('it ended'));
    this.#events?.onLost();
  }
}

function unavailable(why: string): ClusterError {
  return new ClusterError('unavailable', `the names process: ${why}`);
}
