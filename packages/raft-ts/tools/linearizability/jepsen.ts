/**
 * Reads the logs that Jepsen's register tests leave: one event a line,
 * `INFO  jepsen.util - PROCESS :invoke|:ok|:fail|:info :read|:write|:cas VALUE`, columns apart by blanks or tabs.
 *
 * `:fail` says that the operation certainly took no effect. Of a compare-and-set that names its values, it also says that the
 * register held something else, and it stays in the history; all other failed operations say nothing and are left out.
 * `:info`, and no answer at all, is an unknown outcome. Times are line numbers.
 */
import type { Operation, RegisterInput, RegisterOutput } from 'raft-ts/sim';

export class BadHistory extends Error {
  override readonly name = 'BadHistory';
}

export type RegisterOperation = Operation<RegisterInput, RegisterOutput>;

interface Event {
  readonly line: number;
  readonly process: number;
  readonly kind: 'invoke' | 'ok' | 'fail' | 'info';
  readonly op: 'read' | 'write' | 'cas';
  readonly value: string;
}

interface Call {
  readonly line: number;
  readonly input: RegisterInput;
}

const shape = /^(?:.*\s-\s+)?(\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(\S.*)$/;
/** Jepsen also logs what it did to the machines. */
const aside = /(?:^|\s):nemesis\s|^\s*[;#]/;
const scalar = /^(?:nil|true|false|-?\d+(?:\.\d+)?|:[\w.-]+|"[^"]*")$/;
const pair = /^\[\s*([^\s[\],]+)[\s,]+([^\s[\],]+)\s*\]$/;

/** Throws `BadHistory`, naming the line, for what is not such a log. */
export function parseJepsen(text: string): readonly RegisterOperation[] {
  const open = new Map<number, Call>();
  const operations: RegisterOperation[] = [];
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || aside.test(line)) continue;
    const event = parseEvent(line.trim(), at + 1);
    const call = open.get(event.process);
    if (event.kind === 'invoke') {
      if (call !== undefined)
        throw bad(event.line, `process ${String(event.process)} is still busy since ${since(call)}`);
      open.set(event.process, { line: event.line, input: inputOf(event) });
      continue;
    }
    if (call === undefined) throw bad(event.line, `process ${String(event.process)} is answered, but had not asked`);
    if (call.input.op !== event.op) throw bad(event.line, `a ${event.op} is answered, but ${since(call)} is another`);
    open.delete(event.process);
    operations.push(...close(event, call));
  }
  for (const [process, call] of open) operations.push(unknown(process, call));
  return operations;
}

function parseEvent(line: string, number: number): Event {
  const [, process, kind, op, value] = shape.exec(line) ?? [];
  if (process === undefined || value === undefined) {
    throw bad(number, `expected "PROCESS :invoke|:ok|:fail|:info :read|:write|:cas VALUE", found ${quote(line)}`);
  }
  return { line: number, process: Number(process), kind: kind as Event['kind'], op: op as Event['op'], value };
}

function inputOf({ op, value, line }: Event): RegisterInput {
  if (op === 'read') return { op };
  if (op === 'write') return { op, value: scalarOf(value, line) };
  const [, from, to] = pair.exec(value) ?? [];
  if (from === undefined || to === undefined) throw bad(line, `expected [OLD NEW], found ${quote(value)}`);
  return { op, from: scalarOf(from, line), to: scalarOf(to, line) };
}

function close(event: Event, call: Call): readonly RegisterOperation[] {
  const { process, kind, op, value, line } = event;
  if (kind === 'info') return [unknown(process, call)];
  if (kind === 'fail' && (op !== 'cas' || !pair.test(value))) return [];
  const output = op === 'read' ? { value: scalarOf(value, line) } : { done: kind === 'ok' };
  return [{ process, input: call.input, output, call: call.line, return: line }];
}

function unknown(process: number, { input, line }: Call): RegisterOperation {
  return { process, input, output: undefined, call: line, return: Number.POSITIVE_INFINITY };
}

function scalarOf(text: string, line: number): string {
  if (!scalar.test(text)) throw bad(line, `expected a value, found ${quote(text)}`);
  return text;
}

function since({ line }: Call): string {
  return `line ${String(line)}`;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

function bad(line: number, message: string): BadHistory {
  return new BadHistory(`line ${String(line)}: ${message}`);
}
