/**
 * Judges whether a recorded history of concurrent operations is linearizable: whether each operation can be given one
 * moment between its call and its return so that, one after another, they do what the model says (Herlihy and Wing 1990).
 * The search is that of `search.ts`, one per key, in steps that are counted: what it cannot decide within them is
 * `unknown`, never a guess.
 */
import { type Found, Search } from './search.ts';
import type { Linearizability, Model, Operation, Part } from './types.ts';

const stepsMax = 5_000_000;

/** How hard to try. */
export interface CheckOptions {
  /** Calls of `Model.step`, all keys together; by default 5 million, some ten seconds. */
  readonly maxSteps?: number;
}

/**
 * Throws `RangeError` for an operation that returns before it is called, and `TypeError` for a model whose states cannot
 * be told apart without `hash`. An operation that was answered at the instant when another was called counts as
 * concurrent with it.
 */
export function checkLinearizable<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  options: CheckOptions = {},
): Linearizability<Input, Output> {
  checkModel(model);
  for (const operation of history) checkTimes(operation);
  let steps = 0;
  const parts: Part<Input, Output>[] = [];
  for (const [key, operations] of partition(model, history)) {
    const { part, used } = checkPart(model, { key, operations, maxSteps: (options.maxSteps ?? stepsMax) - steps });
    parts.push(part);
    steps += used;
  }
  const has = (verdict: string) => parts.some((part) => part.verdict === verdict);
  const verdict = has('not-linearizable') ? 'not-linearizable' : has('unknown') ? 'unknown' : 'linearizable';
  const explanation = parts.flatMap((part) => (part.explanation === '' ? [] : [part.explanation])).join('\n');
  return { verdict, parts, steps, explanation };
}

function checkModel<State, Input, Output>({ init, hash }: Model<State, Input, Output>): void {
  if (hash !== undefined || typeof init !== 'object' || init === null) return;
  const prototype: unknown = Object.getPrototypeOf(init);
  if (prototype === Object.prototype || prototype === Array.prototype || prototype === null) return;
  throw new TypeError(`Cannot check history: the model needs hash() for states of class ${init.constructor.name}`);
}

function checkTimes(operation: Operation<unknown, unknown>): void {
  if (Number.isFinite(operation.call) && operation.return >= operation.call) return;
  const times = `${String(operation.call)} to ${String(operation.return)}`;
  throw new RangeError(
    `Cannot check history: an operation of process ${String(operation.process)} lasts from ${times}`,
  );
}

function partition<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
): ReadonlyMap<string, Operation<Input, Output>[]> {
  const parts = new Map<string, Operation<Input, Output>[]>();
  for (const operation of history) {
    const key = model.key?.(operation.input) ?? '';
    const part = parts.get(key);
    if (part === undefined) parts.set(key, [operation]);
    else part.push(operation);
  }
  return parts;
}

function checkPart<State, Input, Output>(
  model: Model<State, Input, Output>,
  work: { key: string; operations: readonly Operation<Input, Output>[]; maxSteps: number },
): { part: Part<Input, Output>; used: number } {
  const found = new Search(model, work.operations).run(work.maxSteps);
  const { verdict, order, steps } = found;
  const explanation = verdict === 'linearizable' ? '' : explain(model, work, found);
  return { part: { key: work.key, verdict, order, explanation }, used: steps };
}

const shown = 5;

function explain<State, Input, Output>(
  model: Model<State, Input, Output>,
  { key, operations }: { readonly key: string; readonly operations: readonly Operation<Input, Output>[] },
  { verdict, order, state, candidates }: Found<State, Input, Output>,
): string {
  const of = key === '' ? '' : ` of key ${key}`;
  const counts = `${String(order.length)} of ${String(operations.length)} operations${of}`;
  const head =
    verdict === 'unknown'
      ? `undecided within the steps allowed; at best ${counts} were put in order`
      : `no order exists; at best ${counts} can be put in order`;
  const lines = [
    head,
    ...order.slice(-shown).map((operation) => `  … ${describe(model, operation)}`),
    `  then the state is ${text(state)}, and of what may come next`,
    ...candidates.slice(0, shown).map((operation) => `  ${verdictOn(model, state, operation)}`),
  ];
  if (candidates.length > shown) lines.push(`  (and ${String(candidates.length - shown)} more)`);
  return lines.join('\n');
}

function verdictOn<State, Input, Output>(
  model: Model<State, Input, Output>,
  state: State,
  operation: Operation<Input, Output>,
): string {
  const { ok } = model.step(state, operation.input, operation.output);
  return `${ok ? '~ fits, but leads no further:' : '✗ does not fit:'} ${describe(model, operation)}`;
}

function describe<State, Input, Output>(
  model: Model<State, Input, Output>,
  { process, input, output, call, return: end }: Operation<Input, Output>,
): string {
  const what = model.describe?.(input, output) ?? `${text(input)} → ${output === undefined ? '?' : text(output)}`;
  return `process ${String(process)}: ${what} [${String(call)} to ${String(end)}]`;
}

function text(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
