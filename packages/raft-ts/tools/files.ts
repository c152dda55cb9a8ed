/** The files of a folder, to any depth; links are followed, and no folder is entered twice. */
import { readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';

export function filesBelow(folder: string): string[] {
  const entered = new Set<string>();
  const walk = (path: string): string[] => {
    const real = realpathSync(path);
    if (entered.has(real)) return [];
    entered.add(real);
    return readdirSync(path)
      .sort()
      .flatMap((name) => {
        const child = join(path, name);
        const found = kindOf(child);
        if (found === 'folder') return walk(child);
        return found === 'file' ? [child] : [];
      });
  };
  return walk(folder);
}

/** Undefined: neither, or a link that leads nowhere. */
function kindOf(path: string): 'file' | 'folder' | undefined {
  try {
    const found = statSync(path);
    if (found.isDirectory()) return 'folder';
    return found.isFile() ? 'file' : undefined;
  } catch {
    return undefined;
  }
}

/** The text of an operating system's error; anything else is a mistake of ours and thrown on. */
export function systemError(error: unknown): string {
  if (error instanceof Error && 'code' in error) return error.message;
  throw error;
}
