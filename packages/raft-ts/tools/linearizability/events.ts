/**
 * The lines of recorded histories, one event each, in either of two notations:
 *
 * - the log of Jepsen, `INFO  jepsen.util - PROCESS :invoke|:ok|:fail|:info :OPERATION VALUE`, columns apart by blanks or tabs,
 *   perhaps with a `:hint` behind;
 * - maps, `{:process PROCESS, :type :invoke|:ok|:fail|:info, :f :OPERATION, :key KEY, :value VALUE}`, in any order and with
 *   any further keys.
 */
export class BadHistory extends Error {
  override readonly name = 'BadHistory';
}

const kinds = ['invoke', 'ok', 'fail', 'info'] as const;

export interface Event {
  readonly line: number;
  readonly process: number;
  readonly kind: (typeof kinds)[number];
  /** What was asked for, without the colon. */
  readonly op: string;
  readonly key: string | undefined;
  readonly value: string;
}

/** Jepsen also logs what it did to the machines. */
const aside = /(?:^|\s):nemesis(?:\s|,|$)|^\s*[;#]/;
const logged = /^(?:.*\s-\s+)?(\d+)\s+:([a-z]+)\s+:([a-z]+)\s+(\S.*)$/;
const hint = /\s+:hint\s+-?\d+$/;
/** One key of a map with its value: a text, a vector, or a single word. */
const field = /[\s,]*:([\w.-]+)\s+("[^"\\]*(?:\\.[^"\\]*)*"|\[[^\]]*\]|[^\s,{}[\]"]+)/y;

/** Throws `BadHistory`, naming the line, for what is no event. */
export function parseEvents(text: string): readonly Event[] {
  const events: Event[] = [];
  for (const [at, raw] of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    const line = raw.trim();
    if (line === '' || aside.test(line)) continue;
    events.push(line.startsWith('{') ? eventOfMap(line, at + 1) : eventOfLog(line, at + 1));
  }
  return events;
}

function eventOfLog(text: string, line: number): Event {
  const [, process, type = '', op = '', value] = logged.exec(text) ?? [];
  const kind = kinds.find((known) => known === type);
  if (process === undefined || value === undefined || kind === undefined) {
    throw bad(line, `expected "PROCESS :invoke|:ok|:fail|:info :OPERATION VALUE", found ${quote(text)}`);
  }
  return { line, process: Number(process), kind, op, key: undefined, value: value.replace(hint, '') };
}

function eventOfMap(text: string, line: number): Event {
  const fields = fieldsOf(text, line);
  const need = (name: string, form: RegExp): string => {
    const found = form.exec(fields.get(name) ?? '')?.[1];
    if (found === undefined) throw bad(line, `no valid :${name} in ${quote(text)}`);
    return found;
  };
  const type = need('type', /^:(.+)$/);
  const kind = kinds.find((known) => known === type);
  if (kind === undefined) throw bad(line, `no valid :type in ${quote(text)}`);
  return {
    line,
    process: Number(need('process', /^(\d+)$/)),
    kind,
    op: need('f', /^:(.+)$/),
    key: fields.get('key'),
    value: fields.get('value') ?? 'nil',
  };
}

function fieldsOf(text: string, line: number): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  field.lastIndex = 1;
  let end = 1;
  for (let found = field.exec(text); found !== null; found = field.exec(text)) {
    const [, name = '', value = ''] = found;
    fields.set(name, value);
    end = field.lastIndex;
  }
  if (!/^[\s,]*\}$/.test(text.slice(end))) throw bad(line, `not a map of one line: ${quote(text)}`);
  return fields;
}

export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

export function bad(line: number, message: string): BadHistory {
  return new BadHistory(`line ${String(line)}: ${message}`);
}
