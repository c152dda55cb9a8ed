/** Runs one file and tells the first difference; the kind of file is known by its directives. */
import { confChangeDirectives, confChangeOutput, quorumDirectives, quorumOutput } from './arithmetic.ts';
import { transcriptDirectives, transcriptOutput } from './directives.ts';
import type { Directive } from './script.ts';
import { BadScript, parseLine, parseScript } from './script.ts';

export interface Difference {
  readonly line: number;
  readonly expected: string | undefined;
  readonly actual: string | undefined;
}

export type Result = { readonly ok: true } | { readonly ok: false; readonly why: string };

export interface RunOptions {
  /** Log lines (INFO, DEBUG, WARN, ERROR) are not compared. */
  readonly semantic?: boolean;
}

interface Player {
  readonly known: ReadonlySet<string>;
  /** Whether input lines are further directives. */
  readonly nested: boolean;
  readonly play: (directive: Directive) => string;
}

/** Undefined: none of the three kinds. */
function playerFor(directives: readonly Directive[]): Player | undefined {
  const uses = (known: ReadonlySet<string>): boolean => directives.some(({ name }) => known.has(name));
  if (uses(quorumDirectives)) return { known: quorumDirectives, nested: false, play: quorumOutput };
  if (uses(confChangeDirectives)) return { known: confChangeDirectives, nested: false, play: confChangeOutput() };
  if (!uses(transcriptDirectives)) return undefined;
  return { known: transcriptDirectives, nested: true, play: transcriptOutput() };
}

/** Undefined: not a script at all, such as a README beside the scripts. */
export function runScript(text: string, options: RunOptions = {}): Result | undefined {
  if (!/^----\r?$/m.test(text)) return undefined;
  let directives: readonly Directive[];
  try {
    directives = parseScript(text);
  } catch (error) {
    if (error instanceof BadScript) return { ok: false, why: error.message };
    throw error;
  }
  const player = playerFor(directives) ?? { known: new Set(), nested: false, play: () => '' };
  for (const directive of directives) {
    const why = unknownIn(directive, player) ?? runDirective(directive, player.play, options);
    if (why !== undefined) return { ok: false, why };
  }
  return { ok: true };
}

/** A directive of another version, unless the script is about that. */
function unknownIn({ name, line, input, expected }: Directive, { known, nested }: Player): string | undefined {
  if (expected.includes('unknown command')) return undefined;
  const further = nested && name !== 'propose-conf-change' ? input : [];
  const names = [name, ...further.map((text) => parseLine(text, line).name)];
  const unknown = names.findIndex((one) => one !== '' && !known.has(one));
  return unknown < 0
    ? undefined
    : `line ${String(line + unknown)}: unknown directive ${JSON.stringify(names[unknown])}`;
}

function runDirective(directive: Directive, play: Player['play'], options: RunOptions): string | undefined {
  let output: string;
  try {
    output = play(directive);
  } catch (error) {
    return `line ${String(directive.line)}: ${directive.name}: ${error instanceof Error ? error.message : String(error)}`;
  }
  const found = firstDifference(directive, output.replace(/\n$/, '').split('\n'), options);
  if (!found) return undefined;
  const show = (line: string | undefined): string => (line === undefined ? 'nothing more' : JSON.stringify(line));
  return `line ${String(found.line)}: expected ${show(found.expected)}, got ${show(found.actual)}`;
}

const logLine = /^\s*(?:INFO|DEBUG|WARN|ERROR) /;

function firstDifference(directive: Directive, actual: readonly string[], options: RunOptions): Difference | undefined {
  const compared = (line: string): boolean => !options.semantic || !logLine.test(line);
  const expected = directive.expected
    .map((text, at) => ({ text, line: directive.expectedLine + at }))
    .filter(({ text }) => compared(text));
  const lines = actual.filter(compared);
  // A directive that wrote nothing but log lines has nothing left to compare.
  const silent = (list: readonly string[]): boolean => list.length === 0 || (list.length === 1 && list[0] === 'ok');
  if (options.semantic && silent(lines) && silent(expected.map(({ text }) => text))) return undefined;
  for (let at = 0; at < Math.max(lines.length, expected.length); at += 1) {
    const want = expected[at];
    if (want?.text === lines[at]) continue;
    const line = want?.line ?? directive.expectedLine + directive.expected.length;
    return { line, expected: want?.text, actual: lines[at] };
  }
  return undefined;
}
