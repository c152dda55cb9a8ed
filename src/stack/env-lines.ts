import { ClusterError } from '../lib/errors.ts';

/** `K=V` lines; a bare `K` has no value of its own. Blank lines and comments do not count. */
export function parse(text: string, file: string): Record<string, string | null> {
  const result: Record<string, string | null> = {};
  for (const line of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((raw) => raw.trimStart())) {
    if (line === '' || line.startsWith('#')) continue;
    const at = line.indexOf('=');
    const name = at < 0 ? line : line.slice(0, at);
    if (name === '')
      throw new ClusterError('invalid', `invalid env file (${file}): no variable name on line '${line}'`);
    if (/\s/.test(name))
      throw new ClusterError('invalid', `invalid env file (${file}): variable '${name}' contains whitespaces`);
    result[name] = at < 0 ? null : line.slice(at + 1);
  }
  return result;
}
