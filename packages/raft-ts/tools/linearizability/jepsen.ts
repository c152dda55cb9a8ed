/**
 * Makes operations of the events in a recorded history, of a register (`read`, `write`, `cas`) or of texts by key (`get`,
 * `put`, `append`).
 *
 * `:fail` says that the operation certainly took no effect. Of a compare-and-set that names its values, it also says that the
 * register held something else, and it stays in the history; all other failed operations say nothing and are left out.
 * `:info`, and no answer at all, is an unknown outcome. Times are line numbers.
 */
import type { Operation, RegisterInput, RegisterOutput } from 'raft-ts/sim';
import { BadHistory, bad, type Event, parseEvents, quote } from './events.ts';
import type { TextsInput, TextsOutput } from './texts.ts';

export { BadHistory };

export type RegisterOperation = Operation<RegisterInput, RegisterOutput>;

export type History =
  | { readonly object: 'register'; readonly operations: readonly RegisterOperation[] }
  | { readonly object: 'texts'; readonly operations: readonly Operation<TextsInput, TextsOutput>[] };

/** How the operations of one kind of object are told. */
interface Reading<Input, Output> {
  readonly ops: readonly string[];
  input(event: Event): Input;
  /** Of an operation that took effect, or that failed. Undefined: it failed and says nothing. */
  output(event: Event): Output | undefined;
}

interface Call<Input> {
  readonly event: Event;
  readonly input: Input;
}

const scalar = /^(?:nil|true|false|-?\d+(?:\.\d+)?|:[\w.-]+|"[^"]*")$/;
const pair = /^\[\s*([^\s[\],]+)[\s,]+([^\s[\],]+)\s*\]$/;

const register: Reading<RegisterInput, RegisterOutput> = {
  ops: ['read', 'write', 'cas'],
  input({ op, value, line }) {
    if (op === 'read') return { op };
    if (op === 'write') return { op, value: scalarOf(value, line) };
    const [, from, to] = pair.exec(value) ?? [];
    if (from === undefined || to === undefined) throw bad(line, `expected [OLD NEW], found ${quote(value)}`);
    return { op: 'cas', from: scalarOf(from, line), to: scalarOf(to, line) };
  },
  output({ op, kind, value, line }) {
    if (kind === 'fail') return op === 'cas' && pair.test(value) ? { done: false } : undefined;
    return op === 'read' ? { value: scalarOf(value, line) } : { done: true };
  },
};

const texts: Reading<TextsInput, TextsOutput> = {
  ops: ['get', 'put', 'append'],
  input({ op, key, value, line }) {
    if (key === undefined) throw bad(line, `a ${op} needs a :key`);
    if (op === 'get') return { op, key };
    return { op: op === 'put' ? op : 'append', key, value: textOf(value, line) };
  },
  output({ op, kind, value, line }) {
    if (kind === 'fail') return undefined;
    return { value: op === 'get' ? textOf(value, line) : '' };
  },
};

/** Throws `BadHistory`, naming the line, for what is not such a history. */
export function parseHistory(text: string): History {
  const events = parseEvents(text);
  if (texts.ops.includes(events[0]?.op ?? '')) return { object: 'texts', operations: operationsOf(events, texts) };
  return { object: 'register', operations: operationsOf(events, register) };
}

function operationsOf<Input, Output>(
  events: readonly Event[],
  reading: Reading<Input, Output>,
): readonly Operation<Input, Output>[] {
  const open = new Map<number, Call<Input>>();
  const operations: Operation<Input, Output>[] = [];
  for (const event of events) {
    const { line, process, kind, op } = event;
    const call = open.get(process);
    if (!reading.ops.includes(op)) throw bad(line, `expected :${reading.ops.join('|:')}, found :${op}`);
    if (kind === 'invoke') {
      if (call !== undefined) throw bad(line, `process ${String(process)} is still busy since ${since(call)}`);
      open.set(process, { event, input: reading.input(event) });
      continue;
    }
    if (call === undefined) throw bad(line, `process ${String(process)} is answered, but had not asked`);
    if (!isAnswerTo(call.event, event)) throw bad(line, `a ${op} is answered, but ${since(call)} is another`);
    open.delete(process);
    if (kind === 'info') operations.push(unknown(call));
    else {
      const output = reading.output(event);
      if (output !== undefined) operations.push({ ...unknown(call), output, return: line });
    }
  }
  for (const call of open.values()) operations.push(unknown(call));
  return operations;
}

function isAnswerTo(call: Event, { op, key }: Event): boolean {
  return call.op === op && (key === undefined || key === call.key);
}

function unknown<Input>({ event, input }: Call<Input>): Operation<Input, never> {
  const { process, line } = event;
  return { process, input, output: undefined, call: line, return: Number.POSITIVE_INFINITY };
}

function scalarOf(text: string, line: number): string {
  if (!scalar.test(text)) throw bad(line, `expected a value, found ${quote(text)}`);
  return text;
}

/** Nothing there is the same as an empty text. */
function textOf(text: string, line: number): string {
  if (text === 'nil') return '';
  if (!text.startsWith('"')) throw bad(line, `expected a text, found ${quote(text)}`);
  return text.slice(1, -1);
}

function since({ event }: Call<unknown>): string {
  return `line ${String(event.line)}`;
}
