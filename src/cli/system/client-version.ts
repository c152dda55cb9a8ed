import { readFileSync } from 'node:fs';

/** The version in package.json, two folders above both `src/cli` and `dist/cli`. */
export function clientVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  const { version }: { version?: string } = JSON.parse(text);
  return version ?? 'unknown';
}
