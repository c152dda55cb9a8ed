/** Evaluates `--format` templates over plain data. */
import { CliError } from '../failure.ts';
import { type Expr, type Node, parseTemplate } from './template-parse.ts';

export interface Template {
  render(data: unknown): string;
}

export function compileTemplate(source: string): Template {
  const nodes = parseTemplate(source);
  return {
    render(data) {
      const scope: Scope = { dot: data, root: data, variables: new Map() };
      return renderNodes(nodes, scope);
    },
  };
}

interface Scope {
  readonly dot: unknown;
  readonly root: unknown;
  readonly variables: ReadonlyMap<string, unknown> & Map<string, unknown>;
}

function renderNodes(nodes: readonly Node[], scope: Scope): string {
  return nodes.map((node) => renderNode(node, scope)).join('');
}

function renderNode(node: Node, scope: Scope): string {
  switch (node.kind) {
    case 'text':
      return node.text;
    case 'print':
      return goText(evaluate(node.expr, scope));
    case 'assign':
      scope.variables.set(node.name, evaluate(node.expr, scope));
      return '';
    case 'if':
      return renderNodes(truthy(evaluate(node.expr, scope)) ? node.then : node.otherwise, inner(scope, scope.dot));
    case 'with': {
      const value = evaluate(node.expr, scope);
      return truthy(value)
        ? renderNodes(node.then, inner(scope, value))
        : renderNodes(node.otherwise, inner(scope, scope.dot));
    }
    case 'range':
      return renderRange(node, scope);
  }
}

function renderRange(node: Extract<Node, { kind: 'range' }>, scope: Scope): string {
  const entries = entriesOf(evaluate(node.expr, scope));
  if (entries.length === 0) return renderNodes(node.otherwise, inner(scope, scope.dot));
  return entries
    .map(([key, value]) => {
      const body = inner(scope, value);
      if (node.key !== '') body.variables.set(node.key, key);
      if (node.value !== '') body.variables.set(node.value, value);
      return renderNodes(node.then, body);
    })
    .join('');
}

function inner(scope: Scope, dot: unknown): Scope {
  return { dot, root: scope.root, variables: new Map(scope.variables) };
}

function entriesOf(value: unknown): [unknown, unknown][] {
  if (Array.isArray(value)) return value.map((item, index) => [index, item]);
  if (isRecord(value))
    return Object.keys(value)
      .sort()
      .map((key) => [key, value[key]]);
  if (value === undefined || value === null) return [];
  throw failure(`range can't iterate over ${goText(value)}`);
}

function evaluate(expr: Expr, scope: Scope): unknown {
  switch (expr.kind) {
    case 'literal':
      return expr.value;
    case 'dot':
      return call(scope.dot, []);
    case 'variable':
      if (expr.name === '') return scope.root;
      if (!scope.variables.has(expr.name)) throw failure(`undefined variable "$${expr.name}"`);
      return scope.variables.get(expr.name);
    case 'field':
      return call(fieldOf(evaluate(expr.base, scope), expr, scope), []);
    case 'method': {
      const target =
        expr.target.kind === 'field'
          ? fieldOf(evaluate(expr.target.base, scope), expr.target, scope)
          : evaluate(expr.target, scope);
      if (typeof target !== 'function') throw failure("can't give argument to non-function");
      return call(
        target,
        expr.args.map((arg) => evaluate(arg, scope)),
      );
    }
    case 'call':
      return callFunction(
        expr.name,
        expr.args.map((arg) => evaluate(arg, scope)),
      );
    case 'pipe':
      return evaluatePipe(expr, scope);
  }
}

function evaluatePipe(expr: Extract<Expr, { kind: 'pipe' }>, scope: Scope): unknown {
  const input = evaluate(expr.left, scope);
  const { right } = expr;
  if (right.kind !== 'call') throw failure('non executable command in pipeline');
  return callFunction(right.name, [...right.args.map((arg) => evaluate(arg, scope)), input]);
}

function call(value: unknown, args: unknown[]): unknown {
  return typeof value === 'function' ? value(...args) : value;
}

/** A field that the top-level object lacks is a mistake of the user; deeper ones are optional parts of a document. */
function fieldOf(base: unknown, expr: Extract<Expr, { kind: 'field' }>, scope: Scope): unknown {
  if (base === undefined || base === null) return undefined;
  if (!isRecord(base)) throw failure(`can't evaluate field ${expr.name} in type ${typeof base}`);
  if (Object.hasOwn(base, expr.name)) return base[expr.name];
  if (base === scope.root) throw failure(`<.${expr.name}>: can't evaluate field ${expr.name}`);
  return undefined;
}

function callFunction(name: string, args: unknown[]): unknown {
  const run = Object.hasOwn(functions, name) ? functions[name] : undefined;
  if (run === undefined) throw new CliError(`template parsing error: function "${name}" not defined`, 64);
  return run(...args);
}

const functions: Readonly<Record<string, (...args: unknown[]) => unknown>> = {
  json: (value) => JSON.stringify(value === undefined ? null : value),
  join: (list, separator) => (Array.isArray(list) ? list.map(goText).join(goText(separator)) : goText(list)),
  split: (text, separator) => goText(text).split(goText(separator)),
  upper: (text) => goText(text).toUpperCase(),
  lower: (text) => goText(text).toLowerCase(),
  title: (text) => goText(text).replace(/(^|\s)\S/g, (first) => first.toUpperCase()),
  println: (...args) => `${args.map(goText).join(' ')}\n`,
  print: (...args) => args.map(goText).join(''),
  printf: (format, ...args) => printf(goText(format), args),
  pad: (text, left, right) => {
    const body = goText(text);
    return body === '' ? '' : `${' '.repeat(count(left))}${body}${' '.repeat(count(right))}`;
  },
  truncate: (text, size) => goText(text).slice(0, count(size)),
  len: (value) =>
    Array.isArray(value) || typeof value === 'string' ? value.length : Object.keys(isRecord(value) ? value : {}).length,
  index: (value, ...keys) => keys.reduce((at, key) => indexInto(at, key), value),
  eq: (first, ...rest) => rest.some((other) => first === other),
  ne: (first, second) => first !== second,
  lt: (first, second) => compare(first, second) < 0,
  le: (first, second) => compare(first, second) <= 0,
  gt: (first, second) => compare(first, second) > 0,
  ge: (first, second) => compare(first, second) >= 0,
  and: (...args) => args.find((arg) => !truthy(arg)) ?? args.at(-1),
  or: (...args) => args.find(truthy) ?? args.at(-1),
  not: (value) => !truthy(value),
};

/** A width written in a template; bounded, so that no template can ask for gigabytes. */
function count(value: unknown): number {
  const size = Number(value);
  if (!Number.isInteger(size) || size < 0 || size > 10_000) throw failure(`invalid width ${goText(value)}`);
  return size;
}

function indexInto(value: unknown, key: unknown): unknown {
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value) || typeof value === 'string') {
    const at = Number(key);
    if (!Number.isInteger(at) || at < 0 || at >= value.length)
      throw failure(`error calling index: index out of range: ${goText(key)}`);
    return value[at];
  }
  if (!isRecord(value)) throw failure(`error calling index: can't index ${goText(value)}`);
  const name = goText(key);
  return Object.hasOwn(value, name) ? value[name] : undefined;
}

function compare(first: unknown, second: unknown): number {
  if (typeof first === 'number' && typeof second === 'number') return first - second;
  const [left, right] = [goText(first), goText(second)];
  return left < right ? -1 : left > right ? 1 : 0;
}

function printf(format: string, args: unknown[]): string {
  let used = 0;
  return format.replace(/%(-?)(\d{0,4})([sdvqt%])/g, (_, left: string, width: string, verb: string) => {
    if (verb === '%') return '%';
    const value = args[used++];
    const text = verb === 'q' ? JSON.stringify(goText(value)) : goText(value);
    const size = Number(width);
    return left === '-' ? text.padEnd(size) : text.padStart(size);
  });
}

function truthy(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isRecord(value)) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** As Go prints a value with %v: `[a b]`, `map[k:v]`. */
export function goText(value: unknown): string {
  if (value === undefined || value === null) return '<no value>';
  if (Array.isArray(value)) return `[${value.map(goText).join(' ')}]`;
  if (isRecord(value)) {
    const parts = Object.keys(value)
      .sort()
      .map((key) => `${key}:${goText(value[key])}`);
    return `map[${parts.join(' ')}]`;
  }
  return String(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function failure(detail: string): CliError {
  return new CliError(`template: executing "" at ${detail}`);
}
