/** Placement constraints: `key == value`, `key != value`, as Swarm reads them (docs.docker.com, service create --constraint). */
import { ClusterError } from '../lib/errors.ts';
import type { Node } from '../model/objects.ts';
import { canonicalArchitecture } from './platform.ts';

export interface Constraint {
  readonly key: string;
  readonly operator: '==' | '!=';
  readonly value: string;
}

const keyPattern = /^[a-zA-Z_][a-zA-Z0-9_.-]+$/;
const valuePattern = /^[a-zA-Z0-9:_\s.*()?+[\]\\^$|/-]+$/;

/** Throws `invalid` with Docker's words. */
export function parseConstraint(expression: string): Constraint {
  const operator = (['==', '!='] as const).find((candidate) => expression.includes(candidate));
  if (operator === undefined) throw new ClusterError('invalid', 'constraint expected one operator from ==, !=');
  const at = expression.indexOf(operator);
  const key = expression.slice(0, at).trim();
  const value = expression.slice(at + operator.length).trim();
  if (!keyPattern.test(key)) throw new ClusterError('invalid', `key '${key}' is invalid`);
  if (!valuePattern.test(value)) throw new ClusterError('invalid', `value '${value}' is invalid`);
  return { key, operator, value };
}

export function parseConstraints(expressions: readonly string[]): readonly Constraint[] {
  return expressions.map(parseConstraint);
}

/** True when every constraint holds. An unknown key or a malformed address matches no node. */
export function nodeMatches(constraints: readonly Constraint[], node: Node): boolean {
  return constraints.every((constraint) => compiled(constraint)(node));
}

type Matcher = (node: Node) => boolean;
/** By the list itself, which belongs to a spec that never changes. */
const matchers = new WeakMap<readonly string[], Matcher>();

/** Of the constraints of a stored spec, see `readConstraints`; made once for each spec. */
export function matcherOf(expressions: readonly string[]): Matcher {
  const known = matchers.get(expressions);
  if (known !== undefined) return known;
  const all = readConstraints(expressions).map(compiled);
  const matcher: Matcher = (node) => {
    for (const matches of all) if (!matches(node)) return false;
    return true;
  };
  if (Object.isFrozen(expressions)) matchers.set(expressions, matcher);
  return matcher;
}

/** The constraints of a stored spec; one that cannot be read (written by an older version) matches no node. */
export function constraintsMatch(expressions: readonly string[] | undefined, node: Node): boolean {
  return expressions === undefined || expressions.length === 0 || matcherOf(expressions)(node);
}

/** Like `parseConstraints`, but what cannot be read becomes a constraint that nothing meets. */
export function readConstraints(expressions: readonly string[]): readonly Constraint[] {
  return expressions.map((expression) => {
    try {
      return parseConstraint(expression);
    } catch {
      return { key: '', operator: '==', value: expression };
    }
  });
}

function compiled(constraint: Constraint): Matcher {
  const key = constraint.key.toLowerCase();
  if (key === 'node.ip') return (node) => addressMatches(constraint, node.status.addr);
  const actualOf = attribute(key, constraint.key);
  if (actualOf === undefined) return () => false;
  const wanted =
    key === 'node.platform.arch' ? canonicalArchitecture(constraint.value) : constraint.value.toLowerCase();
  const wantsEqual = constraint.operator === '==';
  return (node) => {
    const actual = actualOf(node);
    return (actual === wanted || actual.toLowerCase() === wanted) === wantsEqual;
  };
}

/** What the node has under the constraint's key; undefined for an unknown key. */
export function nodeValue({ key }: Constraint, node: Node): string | undefined {
  const lower = key.toLowerCase();
  return lower === 'node.ip' ? node.status.addr : attribute(lower, key)?.(node);
}

const nodeLabels = 'node.labels.';
const engineLabels = 'engine.labels.';

/** Undefined for an unknown key. `exact` keeps the case of a label's own name. */
function attribute(key: string, exact: string): ((node: Node) => string) | undefined {
  switch (key) {
    case 'node.id':
      return (node) => node.id;
    case 'node.hostname':
      return (node) => node.description?.hostname ?? '';
    case 'node.role':
      return (node) => node.role;
    case 'node.platform.os':
      return (node) => node.description?.platform.os ?? '';
    case 'node.platform.arch':
      return (node) => canonicalArchitecture(node.description?.platform.architecture ?? '');
    default:
      return label(key, exact);
  }
}

function label(key: string, exact: string): ((node: Node) => string) | undefined {
  if (key.startsWith(nodeLabels)) {
    const name = exact.slice(nodeLabels.length);
    return (node) => own(node.spec.Labels, name);
  }
  if (key.startsWith(engineLabels)) {
    const name = exact.slice(engineLabels.length);
    return (node) => own(node.description?.engine.labels, name);
  }
  return undefined;
}

function own(labels: Readonly<Record<string, string>> | undefined, name: string): string {
  return labels !== undefined && Object.hasOwn(labels, name) ? (labels[name] ?? '') : '';
}

/** The value a spread descriptor has on a node; a node without the label is in branch ''. Undefined: not a label. */
export function spreadValue(descriptor: string, node: Node): string | undefined {
  return label(descriptor.toLowerCase(), descriptor)?.(node);
}

function addressMatches(constraint: Constraint, addr: string): boolean {
  const [wanted = '', bitsText] = constraint.value.split('/');
  const network = parseAddress(wanted);
  if (network === undefined) return false;
  const bits = bitsText === undefined ? network.width : Number(bitsText);
  if (!Number.isInteger(bits) || bits < 0 || bits > network.width || bitsText === '') return false;
  const own = parseAddress(addr);
  if (own === undefined) return constraint.operator === '!=';
  const shift = BigInt(network.width - bits);
  const inside = own.width === network.width && own.value >> shift === network.value >> shift;
  return inside === (constraint.operator === '==');
}

interface Address {
  readonly value: bigint;
  readonly width: 32 | 128;
}

function parseAddress(text: string): Address | undefined {
  return text.includes(':') ? parseV6(text) : parseV4(text);
}

function parseV4(text: string): Address | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) <= 255)) return undefined;
  return { value: parts.reduce((sum, part) => (sum << 8n) | BigInt(part), 0n), width: 32 };
}

function parseV6(text: string): Address | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head = [], tail = []] = halves.map((half) => (half === '' ? [] : half.split(':')));
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array<string>(missing).fill('0'), ...tail];
  if (!groups.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  return { value: groups.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n), width: 128 };
}
