import { type Command, Option } from 'commander';
import { type DaemonFlagValues, type DaemonOptions, daemonFlags } from '../../node/daemon-options.ts';
import { collect } from '../options.ts';

const entries = Object.entries(daemonFlags) as [keyof DaemonOptions, (typeof daemonFlags)[keyof DaemonOptions]][];

/** Adds the daemon's flags, but those that the verb has with a meaning of its own. */
export function addDaemonFlags(command: Command, except: readonly (keyof DaemonOptions)[]): void {
  for (const [key, known] of entries) {
    if (except.includes(key)) continue;
    const note = `(env ${known.variable}${known.fallback === '' ? '' : `, default ${known.fallback}`})`;
    const option = new Option(`${known.flag} ${known.value}`, `${known.help} ${note}`);
    if ('repeatable' in known && known.repeatable) option.argParser(collect);
    command.addOption(option);
  }
}

/** What was given, by setting. */
export function daemonFlagValues(options: Readonly<Record<string, unknown>>): DaemonFlagValues {
  const values: Partial<Record<keyof DaemonOptions, string | readonly string[]>> = {};
  for (const [key, known] of entries) {
    const given = options[optionName(known.flag)];
    if (typeof given === 'string') values[key] = given;
    else if (Array.isArray(given)) values[key] = given.map(String);
  }
  return values;
}

/** The command line that repeats these values for `tscluster daemon`. */
export function daemonArgs(values: DaemonFlagValues): string[] {
  return entries.flatMap(([key, known]) => [values[key] ?? []].flat().flatMap((value) => [known.flag, value]));
}

function optionName(flag: string): string {
  return flag.slice(2).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}
