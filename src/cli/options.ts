/** Readers for flag values. They throw commander's InvalidArgumentError, which names the flag and ends with exit code 125. */
import { InvalidArgumentError } from 'commander';
import type { Filters } from '../client/index.ts';
import { messageOf } from '../lib/errors.ts';
import { parseBytes, parseCpus, parseDuration, parseUint } from '../stack/values.ts';

type Reader<T> = (text: string) => T;

function reader<T>(parse: Reader<T>): Reader<T> {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError(messageOf(error));
    }
  };
}

export const uint = reader(parseUint);
export const bytes = reader(parseBytes);
export const cpus = reader(parseCpus);
export const duration = reader((text) => {
  const nanos = parseDuration(text);
  if (nanos < 0) throw new InvalidArgumentError('duration cannot be negative');
  return nanos;
});

export const integer = reader((text) => {
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new InvalidArgumentError(`"${text}" is not a whole number`);
  return value;
});

export const ratio = reader((text) => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError(`"${text}" is not a number`);
  return value;
});

/** A flag that may be given several times. */
export function collect(text: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), text];
}

/** The same; one value may hold several, separated by commas. */
export function collectList(text: string, previous: readonly string[] | undefined): string[] {
  const items = text.split(',').map((item) => item.trim());
  return [...(previous ?? []), ...items.filter((item) => item !== '')];
}

/** A flag that may be given several times, with each value read as it comes. */
export function collectAs<T>(parse: Reader<T>): (text: string, previous: readonly T[] | undefined) => T[] {
  const read = reader(parse);
  return (text, previous) => [...(previous ?? []), read(text)];
}

export function collectFilter(text: string, previous: Filters | undefined): Filters {
  const at = text.indexOf('=');
  if (at < 0) throw new InvalidArgumentError('invalid filter (expected name=value)');
  const key = text.slice(0, at).trim().toLowerCase();
  return { ...previous, [key]: [...(previous?.[key] ?? []), text.slice(at + 1).trim()] };
}

/** `k=v` pairs; a bare `k` has the empty value. */
export function labelMap(pairs: readonly string[] | undefined): Record<string, string> {
  const result: Record<string, string> = {};
  for (const pair of pairs ?? []) {
    const at = pair.indexOf('=');
    result[at < 0 ? pair : pair.slice(0, at)] = at < 0 ? '' : pair.slice(at + 1);
  }
  return result;
}

/** Refuses a label without a name at once. */
export function collectLabel(text: string, previous: readonly string[] | undefined): string[] {
  if (text === '' || text.startsWith('=')) throw new InvalidArgumentError(`invalid label '${text}': empty name`);
  return collect(text, previous);
}

/** `--format` and what it accepts, in one place. */
export const formatHelp = `Output format: 'table', 'table TEMPLATE', 'json' or a Go template`;
export const inspectFormatHelp = `Output format: 'json' or a Go template`;
