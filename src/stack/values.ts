/** The small languages of Docker's flags and Compose files: durations, sizes, CPU counts, shell words. */
import { ClusterError } from '../lib/errors.ts';

const nanosPerUnit: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** Go's duration syntax (`1m30s`, `1.5h`, `0`) in nanoseconds. */
export function parseDuration(text: string): number {
  if (text === '0') return 0;
  const match = /^([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+$/.exec(text);
  if (match === null) throw new ClusterError('invalid', `time: invalid duration "${text}"`);
  let nanos = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g)) {
    nanos += Number(amount) * (nanosPerUnit[unit ?? ''] ?? 0);
  }
  if (nanos > Number.MAX_SAFE_INTEGER) throw new ClusterError('invalid', `time: duration "${text}" is too long`);
  return Math.round(match[1] === '-' ? -nanos : nanos);
}

/** The other direction, as Go prints a duration: `1m30s`, `500ms`. */
export function formatDuration(nanos: number): string {
  if (nanos === 0) return '0s';
  const sign = nanos < 0 ? '-' : '';
  const size = Math.abs(nanos);
  if (size < 1e3) return `${sign}${size}ns`;
  if (size < 1e6) return `${sign}${size / 1e3}µs`;
  if (size < 1e9) return `${sign}${size / 1e6}ms`;
  const hours = Math.floor(size / 3600e9);
  const minutes = Math.floor((size % 3600e9) / 60e9);
  const seconds = (size % 60e9) / 1e9;
  return `${sign}${hours > 0 ? `${hours}h` : ''}${hours > 0 || minutes > 0 ? `${minutes}m` : ''}${seconds}s`;
}

const sizeUnits = 'bkmgtp';

/** `64m`, `1.5GiB`, `512` in bytes; units are powers of 1024. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([bkmgtp]?)i?b?$/i.exec(text.trim());
  if (match === null) throw new ClusterError('invalid', `invalid size: '${text}'`);
  const power = Math.max(sizeUnits.indexOf((match[2] ?? '').toLowerCase()), 0);
  const bytes = Math.floor(Number(match[1]) * 1024 ** (match[2] === '' ? 0 : power));
  if (bytes > Number.MAX_SAFE_INTEGER) throw new ClusterError('invalid', `invalid size: '${text}' is too large`);
  return bytes;
}

/** A decimal number of CPUs in billionths. */
export function parseCpus(text: string): number {
  const match = /^(\d*)(?:\.(\d*))?$/.exec(text.trim());
  const whole = match?.[1] ?? '';
  const fraction = match?.[2] ?? '';
  if (match === null || whole + fraction === '') {
    throw new ClusterError('invalid', `failed to parse ${text} as a rational number`);
  }
  if (fraction.replace(/0+$/, '').length > 9) throw new ClusterError('invalid', 'value is too precise');
  return Number(whole || '0') * 1e9 + Number(fraction.slice(0, 9).padEnd(9, '0'));
}

/** Splits a command line as a POSIX shell would, without expansions. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < line.length; at++) {
    const char = line[at] ?? '';
    if (quote === "'") {
      if (char === quote) quote = '';
      else word += char;
    } else if (char === '\\') {
      const next = line[++at];
      if (next === undefined) throw new ClusterError('invalid', `EOF found after escape character in: ${line}`);
      word = (word ?? '') + (quote === '"' && !'"\\$`'.includes(next) ? `\\${next}` : next);
    } else if (quote === '"') {
      if (char === quote) quote = '';
      else word += char;
    } else if (char === '"' || char === "'") {
      quote = char;
      word ??= '';
    } else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + char;
    }
  }
  if (quote !== '') throw new ClusterError('invalid', `EOF found when expecting closing quote in: ${line}`);
  if (word !== undefined) words.push(word);
  return words;
}

/** One record of comma-separated values with CSV quoting, as Docker's `--mount` and `--publish` use it. */
export function splitCsv(text: string): string[] {
  const fields: string[] = [];
  let field = '';
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? '';
    if (quoted) {
      if (char !== '"') field += char;
      else if (text[at + 1] === '"') field += text[++at];
      else quoted = false;
    } else if (char === '"' && field === '') quoted = true;
    else if (char === '"') throw new ClusterError('invalid', `parse error: bare " in non-quoted field in: ${text}`);
    else if (char === ',') {
      fields.push(field);
      field = '';
    } else field += char;
  }
  if (quoted) throw new ClusterError('invalid', `parse error: missing closing " in: ${text}`);
  fields.push(field);
  return fields;
}

/** `true`, `1`, `t` … in Go's reading. */
export function parseBool(text: string): boolean {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false;
  throw new ClusterError('invalid', `strconv.ParseBool: parsing "${text}": invalid syntax`);
}

/** A non-negative integer. */
export function parseUint(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new ClusterError('invalid', `"${text}" is not a whole number of 0 or more`);
  return value;
}

/** `NET_ADMIN` → `CAP_NET_ADMIN`; `ALL` absorbs the others. Sorted, without repeats. */
export function normalizeCapabilities(names: readonly string[]): string[] {
  const upper = names
    .map((name) => name.trim().toUpperCase())
    .map((name) => (name === 'ALL' || name.startsWith('CAP_') ? name : `CAP_${name}`));
  return upper.includes('ALL') ? ['ALL'] : [...new Set(upper)].sort();
}

/** What is both added and dropped stays added, as in Docker. */
export function effectiveCapabilities(
  add: readonly string[],
  drop: readonly string[],
): { readonly add: string[]; readonly drop: string[] } {
  const added = normalizeCapabilities(add);
  const dropped = normalizeCapabilities(drop);
  if (added[0] === 'ALL') return { add: added, drop: [] };
  return { add: added, drop: dropped.filter((name) => !added.includes(name)) };
}
