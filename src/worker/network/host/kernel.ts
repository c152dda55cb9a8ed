/** The only way from here to the kernel: programs and settings. Reading and changing are apart, so that changes can be counted. */
import { readFile, writeFile } from 'node:fs/promises';
import { messageOf } from '../../../lib/errors.ts';
import { run } from '../exec.ts';

export interface Kernel {
  read(program: string, args: readonly string[]): Promise<string>;
  /** Counts as a change of everything in `input`. */
  change(program: string, args: readonly string[], input?: string): Promise<string>;
  /** A setting under /proc/sys/net of this process's namespace; undefined: there is none. */
  setting(path: string): Promise<string | undefined>;
  set(path: string, value: string): Promise<void>;
  /** How many changes there were. */
  readonly changes: number;
}

export function createKernel(): Kernel {
  return new ProgramKernel();
}

class ProgramKernel implements Kernel {
  changes = 0;

  read(program: string, args: readonly string[]): Promise<string> {
    return run(program, args);
  }

  change(program: string, args: readonly string[], input = ''): Promise<string> {
    this.changes++;
    return run(program, args, input);
  }

  async setting(path: string): Promise<string | undefined> {
    return (await readFile(`/proc/sys/net/${path}`, 'utf8').catch(() => undefined))?.trim();
  }

  async set(path: string, value: string): Promise<void> {
    this.changes++;
    await writeFile(`/proc/sys/net/${path}`, value);
  }
}

/** True for "there is no such thing", as `ip` and `nft` say it. */
export function isMissing(error: unknown): boolean {
  return /No such (file or directory|device|process)|Cannot find device|does not exist|FDB table/i.test(
    messageOf(error),
  );
}
