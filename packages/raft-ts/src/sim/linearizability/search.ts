/**
 * The search of Wing and Gong for an order of the operations that the model accepts and that keeps every operation which
 * had returned before another was called ahead of it, with Lowe's memory of configurations: what led nowhere once is not
 * tried again.
 *
 * Operations of unknown outcome may be left out, so they are tried last, only where they change something, and of several
 * alike only the one called first.
 */
import { Timeline } from './timeline.ts';
import type { Model, Operation } from './types.ts';
import { Visited } from './visited.ts';

export interface Found<State, Input, Output> {
  readonly verdict: 'linearizable' | 'not-linearizable' | 'unknown';
  /** A complete order, or the longest found. */
  readonly order: readonly Operation<Input, Output>[];
  /** The state after `order`. */
  readonly state: State;
  /** Answered operations that may come next by time alone. */
  readonly candidates: readonly Operation<Input, Output>[];
  readonly steps: number;
}

interface Taken<State> {
  readonly operation: number;
  readonly before: State;
  /** Nothing else needs trying in its place. */
  readonly forced: boolean;
}

export class Search<State, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  /** Answered ones first, then the open ones, each group in the order of calls. */
  readonly #operations: readonly Operation<Input, Output>[];
  readonly #answered: number;
  /** Of an open operation, the one before it that asked for the same. */
  readonly #twin: ReadonlyMap<number, number>;
  readonly #timeline: Timeline;
  readonly #visited: Visited;
  readonly #taken: Taken<State>[] = [];
  #missing: number;
  #steps = 0;
  #state: State;
  #best: Pick<Found<State, Input, Output>, 'order' | 'state' | 'candidates'>;

  constructor(model: Model<State, Input, Output>, operations: readonly Operation<Input, Output>[]) {
    const inOrder = operations.toSorted((a, b) => a.call - b.call);
    const answered = inOrder.filter((operation) => operation.return !== Number.POSITIVE_INFINITY);
    const open = inOrder.filter((operation) => operation.return === Number.POSITIVE_INFINITY);
    this.#model = model;
    this.#operations = [...answered, ...open];
    this.#answered = answered.length;
    this.#missing = answered.length;
    this.#twin = twins(this.#operations, answered.length);
    this.#timeline = new Timeline(answered);
    this.#visited = new Visited(answered.length, open.length);
    this.#state = model.init;
    this.#best = { order: [], state: model.init, candidates: this.#candidates() };
  }

  run(maxSteps: number): Found<State, Input, Output> {
    let choice = this.#advance();
    let exhausted = false;
    while (this.#missing > 0 && this.#steps < maxSteps && !exhausted) {
      if (choice !== undefined) {
        choice = this.#tryTake(choice) ? this.#advance() : this.#choiceAfter(choice);
        continue;
      }
      this.#note();
      const back = this.#giveBack();
      exhausted = back === undefined;
      choice = back === undefined ? undefined : this.#choiceAfter(back);
    }
    this.#note();
    const verdict = this.#missing === 0 ? 'linearizable' : exhausted ? 'not-linearizable' : 'unknown';
    return { verdict, steps: this.#steps, ...this.#best };
  }

  /** Takes all reads that fit the state: putting them off can gain nothing. Gives the first choice. */
  #advance(): number | undefined {
    const { readOnly } = this.#model;
    let at = readOnly === undefined ? undefined : this.#timeline.first();
    while (at !== undefined) {
      const following: number | undefined = this.#timeline.following(at);
      const operation = this.#operations[at];
      const reads = operation !== undefined && this.#model.readOnly?.(operation.input, operation.output) === true;
      // Its return may have been what hid later calls, so the look begins anew.
      at = reads && this.#tryTake(at, true) ? this.#timeline.first() : following;
    }
    return this.#timeline.first() ?? this.#openFrom(this.#answered);
  }

  #choiceAfter(choice: number): number | undefined {
    if (choice >= this.#answered) return this.#openFrom(choice + 1);
    return this.#timeline.following(choice) ?? this.#openFrom(this.#answered);
  }

  #openFrom(start: number): number | undefined {
    const latest = this.#timeline.firstReturn();
    for (let at = start; at < this.#operations.length; at++) {
      if ((this.#operations[at]?.call ?? 0) > latest) return undefined;
      const twin = this.#twin.get(at);
      if (!this.#visited.has(at) && (twin === undefined || this.#visited.has(twin))) return at;
    }
    return undefined;
  }

  #tryTake(at: number, forced = false): boolean {
    const operation = this.#operations[at];
    if (operation === undefined) return false;
    this.#steps += 1;
    const { ok, state } = this.#model.step(this.#state, operation.input, operation.output);
    if (!ok) return false;
    const open = at >= this.#answered;
    const hash = this.#hash(state);
    if (open && Object.is(hash, this.#hash(this.#state))) return false;
    this.#visited.flip(at);
    if (!forced && !this.#visited.visit(hash)) {
      this.#visited.flip(at);
      return false;
    }
    this.#taken.push({ operation: at, before: this.#state, forced });
    this.#state = state;
    if (!open) {
      this.#timeline.lift(at);
      this.#missing -= 1;
    }
    return true;
  }

  #hash(state: State): unknown {
    if (this.#model.hash !== undefined) return this.#model.hash(state);
    return typeof state === 'object' && state !== null ? JSON.stringify(state) : state;
  }

  /** Gives back the newest operation that has alternatives, and with it the reads taken since. */
  #giveBack(): number | undefined {
    for (let taken = this.#taken.pop(); taken !== undefined; taken = this.#taken.pop()) {
      const { operation, before, forced } = taken;
      if (operation < this.#answered) {
        this.#timeline.putBack(operation);
        this.#missing += 1;
      }
      this.#visited.flip(operation);
      this.#state = before;
      if (!forced) return operation;
    }
    return undefined;
  }

  #note(): void {
    if (this.#taken.length <= this.#best.order.length && this.#missing > 0) return;
    const order = this.#taken.flatMap(({ operation }) => this.#operations[operation] ?? []);
    this.#best = { order, state: this.#state, candidates: this.#candidates() };
  }

  #candidates(): Operation<Input, Output>[] {
    const found: Operation<Input, Output>[] = [];
    for (let at = this.#timeline.first(); at !== undefined; at = this.#timeline.following(at)) {
      const operation = this.#operations[at];
      if (operation !== undefined) found.push(operation);
    }
    return found;
  }
}

function twins(operations: readonly Operation<unknown, unknown>[], start: number): ReadonlyMap<number, number> {
  const twin = new Map<number, number>();
  const newest = new Map<string, number>();
  for (const [at, { input, output }] of operations.entries()) {
    if (at < start || output !== undefined || !isPlain(input)) continue;
    const text = JSON.stringify(input);
    const before = newest.get(text);
    if (before !== undefined) twin.set(at, before);
    newest.set(text, at);
  }
  return twin;
}

/** Whether its JSON tells all about the value. */
function isPlain(value: unknown): boolean {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true;
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== 'object') return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== Array.prototype) return false;
  return !('toJSON' in value) && Object.values(value).every(isPlain);
}
