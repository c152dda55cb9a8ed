/** Makes Docker's spellings of flags fit commander: `--flag=false` for switches, `-x=value`. */
import { type Command, InvalidArgumentError, type Option } from 'commander';
import { parseBool } from '../stack/values.ts';

/** The words before which global options may stand, and the rest. */
export function findCommand(argv: readonly string[]): { readonly words: readonly string[]; readonly at: number } {
  let at = 0;
  while (at < argv.length) {
    const word = argv[at] ?? '';
    if (word === '-H' || word === '--host') at += 2;
    else if (word.startsWith('-') && word !== '-') at++;
    else break;
  }
  return { words: argv.slice(at, at + 2).filter((word) => !word.startsWith('-')), at };
}

/** Rewrites the arguments of one verb; switches that are turned off are set on the command at once. */
export function normalizeFlags(
  command: Command,
  args: readonly string[],
  options: { readonly interspersed: boolean },
): string[] {
  const result: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? '';
    const isPositional = !word.startsWith('-') || word === '-';
    if (word === '--' || (isPositional && !options.interspersed)) return [...result, ...args.slice(at)];
    const [flag = '', value] = isPositional ? [] : splitFlag(word);
    const option = command.options.find((known) => known.long === flag || known.short === flag);
    if (option === undefined) result.push(word);
    else if (!takesValue(option)) result.push(...switchWords(command, option, value ?? ''));
    else if (value !== undefined) result.push(flag, value);
    else {
      result.push(flag);
      const next = args[at + 1];
      if (next !== undefined) result.push(next);
      at++;
    }
  }
  return result;
}

function splitFlag(word: string): [string, string?] {
  const at = word.indexOf('=');
  if (at < 0) return [word];
  const isShort = /^-[^-]=/.test(word);
  return isShort || word.startsWith('--') ? [word.slice(0, at), word.slice(at + 1)] : [word];
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function switchWords(command: Command, option: Option, value: string): string[] {
  const flag = option.long ?? option.short ?? '';
  if (value === '') return [flag];
  let wanted: boolean;
  try {
    wanted = parseBool(value);
  } catch (error) {
    throw new InvalidArgumentError(`invalid argument "${value}" for "${flag}" flag: ${(error as Error).message}`);
  }
  if (wanted) return [flag];
  command.setOptionValueWithSource(option.attributeName(), option.negate, 'cli');
  return [];
}
