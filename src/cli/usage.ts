import type { Command } from 'commander';

export function commandPath(command: Command): string {
  const names: string[] = [];
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name());
  return names.join(' ');
}

export function usageHint(command: Command): string {
  const path = commandPath(command);
  return `Usage:  ${path} ${command.usage()}\n\nRun '${path} --help' for more information`;
}

/** Docker's words for a wrong number of arguments. */
export function argumentError(command: Command): string {
  const path = commandPath(command);
  const args = command.registeredArguments;
  const required = args.filter((arg) => arg.required).length;
  if (args.length === 0) return `Error: '${path}' accepts no arguments`;
  const plural = (count: number) => `${count} argument${count === 1 ? '' : 's'}`;
  if (args.some((arg) => arg.variadic) || required < args.length) {
    const variadic = args.some((arg) => arg.variadic);
    if (variadic) return `Error: '${path}' requires at least ${plural(required)}`;
    return `Error: '${path}' requires at least ${required} and at most ${plural(args.length)}`;
  }
  return `Error: '${path}' requires ${plural(required)}`;
}

/** The known word that is at most two letters away, if any. */
export function suggestion(word: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((name) => ({ name, distance: editDistance(word, name) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= 2 && best.distance < word.length ? best.name : undefined;
}

function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return 3;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 3;
}
