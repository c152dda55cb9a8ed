import { readFileSync } from 'node:fs';

/** Of this program, from the package.json above both `src` and `dist`: distinguishes an upgrade from a restart. */
export function programVersion(): string {
  const text = readFileSync(new URL('../../../../package.json', import.meta.url), 'utf8');
  const { version }: { version?: string } = JSON.parse(text);
  return version ?? 'unknown';
}
