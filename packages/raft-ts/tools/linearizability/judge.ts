/** Judges every recorded history of a folder and compares with the verdicts that came with it. */
import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { type CheckOptions, checkLinearizable, registerModel } from 'raft-ts/sim';
import { filesBelow, systemError } from '../files.ts';
import { BadHistory, type History, parseHistory } from './jepsen.ts';
import { textsModel } from './texts.ts';

const verdictsFile = 'verdicts.tsv';

export interface Options {
  readonly verbose?: boolean;
  readonly maxSteps?: number;
}

/** Prints a line per history through `print`; gives the exit status: 0 all as expected, 1 not so, 2 nothing to judge. */
export function judge(path: string, print: (line: string) => void, options: Options = {}): number {
  const isFolder = statSync(path).isDirectory();
  const folder = isFolder ? path : dirname(path);
  const names = isFolder ? histories(path) : [basename(path)];
  if (names.length === 0) {
    print(`no histories in ${path}`);
    return 2;
  }
  const expected = verdictsFor(folder, names);
  let agree = 0;
  let differ = 0;
  let bad = 0;
  for (const name of names) {
    const { verdict, detail } = judgeFile(join(folder, name), options);
    const want = expected?.get(name);
    const wrong = want !== undefined && want !== verdict;
    if (wrong) differ += 1;
    else if (want !== undefined) agree += 1;
    // Where nobody says what to expect, a history should be linearizable.
    if (verdict === 'unreadable' || (want === undefined && verdict !== 'linearizable')) bad += 1;
    print(`${name}: ${verdict}${wrong ? `, expected ${want}` : ''}`);
    if (detail !== '' && (verdict === 'unreadable' || wrong || options.verbose === true)) print(indent(detail));
  }
  if (isFolder) for (const name of expected?.keys() ?? []) if (!names.includes(name)) print(`${name}: missing`);
  if (expected !== undefined) print(`${String(agree)} agree, ${String(differ)} differ`);
  else print(`${String(names.length - bad)} linearizable, ${String(bad)} not, undecided or unreadable`);
  return differ + bad > 0 ? 1 : 0;
}

/** Names from the folder on. */
function histories(folder: string): string[] {
  return filesBelow(folder)
    .map((path) => relative(folder, path))
    .filter((name) => !notHistory.test(name));
}

const notHistory = /(?:^|\/)\.|\.(?:tsv|md)$|(?:^|\/)(?:README|LICENSE|NOTICE)(?:\.\w+)?$/i;

/** Each folder may say what to expect of its histories. */
function verdictsFor(folder: string, names: readonly string[]): ReadonlyMap<string, string> | undefined {
  const below = new Set(['.', ...names.map(dirname)]);
  const lists = [...below].flatMap((part) => {
    const list = readVerdicts(join(folder, part));
    return list ? [[...list].map(([name, verdict]): [string, string] => [join(part, name), verdict])] : [];
  });
  return lists.length === 0 ? undefined : new Map(lists.flat());
}

/** `NAME<tab>true|false` a line. */
function readVerdicts(folder: string): ReadonlyMap<string, string> | undefined {
  const path = join(folder, verdictsFile);
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
  const verdicts = new Map<string, string>();
  for (const [at, line] of readFileSync(path, 'utf8').split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [name = '', truth = ''] = line.trim().split(/\s+/);
    if (truth !== 'true' && truth !== 'false') {
      throw new BadHistory(`${verdictsFile}: line ${String(at + 1)}: expected "NAME true|false"`);
    }
    verdicts.set(name, truth === 'true' ? 'linearizable' : 'not-linearizable');
  }
  return verdicts;
}

function judgeFile(path: string, { maxSteps }: Options): { verdict: string; detail: string } {
  try {
    const history = parseHistory(readFileSync(path, 'utf8'));
    const { verdict, explanation } = check(history, maxSteps === undefined ? {} : { maxSteps });
    return { verdict, detail: explanation };
  } catch (error) {
    if (error instanceof BadHistory) return { verdict: 'unreadable', detail: error.message };
    return { verdict: 'unreadable', detail: systemError(error) };
  }
}

function check(history: History, options: CheckOptions): { readonly verdict: string; readonly explanation: string } {
  if (history.object === 'texts') return checkLinearizable(textsModel, history.operations, options);
  return checkLinearizable(registerModel, history.operations, options);
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '  ');
}
