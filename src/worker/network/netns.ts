/** Named network namespaces, as `ip netns` keeps them. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './exec.ts';

const directory = '/run/netns';

export function netnsPath(name: string): string {
  return join(directory, name);
}

/**
 * Names that begin with `prefix`, in order. A kill inside `ip netns add` leaves a plain file that looks like a namespace and is none:
 * these are `broken`.
 */
export async function listNetns(
  prefix: string,
): Promise<{ readonly names: readonly string[]; readonly broken: readonly string[] }> {
  const all = await readdir(directory).catch((): string[] => []);
  const ours = all.filter((name) => name.startsWith(prefix)).toSorted();
  const states = await Promise.all(ours.map(async (name) => ({ name, real: await isNetns(name) })));
  const those = (real: boolean) => states.filter((state) => state.real === real).map(({ name }) => name);
  return { names: those(true), broken: those(false) };
}

/** False for one that is not there, and for the plain file of one that was never finished. */
export async function isNetns(name: string): Promise<boolean> {
  const [own, around] = await Promise.all(
    [netnsPath(name), directory].map((path) => stat(path).catch(() => undefined)),
  );
  return own !== undefined && own.dev !== around?.dev;
}

/** False when it is there; else it can be made now: what a kill left of one is gone. */
export async function isVacant(name: string): Promise<boolean> {
  const isThere = await stat(netnsPath(name)).then(
    () => true,
    () => false,
  );
  if (!isThere) return true;
  if (await isNetns(name)) return false;
  await rm(netnsPath(name), { force: true });
  return true;
}

/** Makes it unless it is there; true when it made it. */
export async function addNetns(name: string): Promise<boolean> {
  if (!(await isVacant(name))) return false;
  await run('ip', ['netns', 'add', name]);
  return true;
}

/** Makes those that are not there, with one program; when it fails some of them may be there. */
export async function addAllNetns(names: readonly string[]): Promise<void> {
  const vacant = (await Promise.all(names.map(async (name) => ((await isVacant(name)) ? [name] : [])))).flat();
  if (vacant.length > 0) await run('ip', ['-batch', '-'], vacant.map((name) => `netns add ${name}\n`).join(''));
}

/** Missing is fine. Processes in it keep it alive without a name: they have to end first. */
export async function removeNetns(names: readonly string[]): Promise<void> {
  const present = await Promise.all(names.map(async (name) => ((await isNetns(name)) ? [name] : [])));
  const lines = present.flat().map((name) => `netns delete ${name}`);
  if (lines.length > 0) await run('ip', ['-force', '-batch', '-'], `${lines.join('\n')}\n`).catch(() => {});
  for (const name of names) await rm(netnsPath(name), { force: true });
}
