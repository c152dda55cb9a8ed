import { ClusterError } from '../lib/errors.ts';
import { isData } from './document.ts';

export type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Replaces `$VAR`, `${VAR}` and `${VAR` with `:-` `-` `:?` `?` `:+` `+` and a word, in every string value below `data`.
 * Strings that changed and now look like a number or a truth value are cast where `castable` names their path.
 */
export function interpolateTree(data: unknown, path: readonly string[], variables: Variables): unknown {
  if (typeof data === 'string') {
    const text = interpolate(data, variables, path);
    return text === data ? data : cast(text, path);
  }
  if (Array.isArray(data))
    return data.map((item: unknown, index) => interpolateTree(item, [...path, String(index)], variables));
  if (!isData(data)) return data;
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, interpolateTree(value, [...path, key], variables)]),
  );
}

const namePattern = /^[_a-zA-Z][_a-zA-Z0-9]*/;
const nestingMax = 20;

export function interpolate(text: string, variables: Variables, path: readonly string[] = []): string {
  if (!text.includes('$')) return text;
  const bad = (detail: string) =>
    new ClusterError(
      'invalid',
      `invalid interpolation format for ${path.join('.')}: "${detail}"; you may need to escape any $ with another $`,
    );
  let result = '';
  let at = 0;
  while (at < text.length) {
    const dollar = text.indexOf('$', at);
    if (dollar < 0) return result + text.slice(at);
    result += text.slice(at, dollar);
    const rest = text.slice(dollar + 1);
    const name = namePattern.exec(rest)?.[0];
    if (rest.startsWith('$')) {
      result += '$';
      at = dollar + 2;
    } else if (rest.startsWith('{')) {
      const end = closingBrace(text, dollar + 1);
      if (end < 0) throw bad(text);
      result += expand(text.slice(dollar + 2, end), { variables, path, bad, whole: text });
      at = end + 1;
    } else if (name !== undefined) {
      result += variables[name] ?? '';
      at = dollar + 1 + name.length;
    } else throw bad(text);
  }
  return result;
}

function closingBrace(text: string, open: number): number {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if (text[at] === '{' && (depth === 0 || text[at - 1] === '$')) depth++;
    else if (text[at] === '}' && --depth === 0) return at;
    if (depth > nestingMax) return -1;
  }
  return -1;
}

interface Expansion {
  readonly variables: Variables;
  readonly path: readonly string[];
  readonly whole: string;
  bad(detail: string): ClusterError;
}

function expand(body: string, { variables, path, whole, bad }: Expansion): string {
  const name = namePattern.exec(body)?.[0];
  if (name === undefined) throw bad(whole);
  const value = variables[name];
  const operator = /^(:?[-?+])(.*)$/s.exec(body.slice(name.length));
  if (operator === null) {
    if (body !== name) throw bad(whole);
    return value ?? '';
  }
  const word = () => interpolate(operator[2] ?? '', variables, path);
  const kind = operator[1] ?? '';
  const isSet = kind.startsWith(':') ? value !== undefined && value !== '' : value !== undefined;
  switch (kind.at(-1)) {
    case '-':
      return isSet ? (value ?? '') : word();
    case '+':
      return isSet ? word() : '';
    default:
      if (isSet) return value ?? '';
      throw bad(`required variable ${name} is missing a value${word() === '' ? '' : `: ${word()}`}`);
  }
}

const integerPaths = [
  'services.*.deploy.replicas',
  'services.*.deploy.update_config.parallelism',
  'services.*.deploy.rollback_config.parallelism',
  'services.*.deploy.restart_policy.max_attempts',
  'services.*.deploy.placement.max_replicas_per_node',
  'services.*.deploy.resources.limits.pids',
  'services.*.ports.*.target',
  'services.*.ports.*.published',
  'services.*.ulimits.*',
  'services.*.ulimits.*.hard',
  'services.*.ulimits.*.soft',
  'services.*.configs.*.mode',
  'services.*.secrets.*.mode',
  'services.*.healthcheck.retries',
  'services.*.volumes.*.tmpfs.size',
  'services.*.oom_score_adj',
];
const floatPaths = [
  'services.*.deploy.update_config.max_failure_ratio',
  'services.*.deploy.rollback_config.max_failure_ratio',
];
const booleanPaths = [
  'services.*.init',
  'services.*.privileged',
  'services.*.read_only',
  'services.*.stdin_open',
  'services.*.tty',
  'services.*.healthcheck.disable',
  'services.*.volumes.*.read_only',
  'services.*.volumes.*.volume.nocopy',
  'networks.*.external',
  'networks.*.internal',
  'networks.*.attachable',
  'volumes.*.external',
  'secrets.*.external',
  'configs.*.external',
];

function cast(text: string, path: readonly string[]): string | number | boolean {
  if (integerPaths.some((pattern) => fits(pattern, path)))
    return castNumber(text, path, /^-?(0o?[0-7]+|0x[0-9a-f]+|\d+)$/i);
  if (floatPaths.some((pattern) => fits(pattern, path))) return castNumber(text, path, /^-?\d*\.?\d+(e[-+]?\d+)?$/i);
  if (!booleanPaths.some((pattern) => fits(pattern, path))) return text;
  if (/^(true|yes|y|on|1)$/i.test(text)) return true;
  if (/^(false|no|n|off|0)$/i.test(text)) return false;
  throw castError(text, path, 'a truth value');
}

function castNumber(text: string, path: readonly string[], pattern: RegExp): number {
  if (!pattern.test(text)) throw castError(text, path, 'a number');
  const octal = /^0o?[0-7]+$/.test(text) && path.at(-1) === 'mode';
  return octal ? Number.parseInt(text.replace(/^0o?/, '') || '0', 8) : Number(text);
}

function castError(text: string, path: readonly string[], what: string): ClusterError {
  return new ClusterError('invalid', `${path.join('.')}: "${text}" is not ${what} (after interpolation)`);
}

function fits(pattern: string, path: readonly string[]): boolean {
  const parts = pattern.split('.');
  return parts.length === path.length && parts.every((part, index) => part === '*' || part === path[index]);
}
