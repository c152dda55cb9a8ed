import type { Platform } from '../model/spec.ts';

const aliases: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' };

/** uname's and Go's names for one architecture are the same. */
export function canonicalArchitecture(name: string): string {
  const lower = name.toLowerCase();
  return aliases[lower] ?? lower;
}

/** An absent part of the wish matches anything. */
export function platformMatches(
  wish: Platform,
  actual: { readonly architecture: string; readonly os: string },
): boolean {
  const architecture = wish.Architecture ?? '';
  const os = wish.OS ?? '';
  return (
    (architecture === '' || canonicalArchitecture(architecture) === canonicalArchitecture(actual.architecture)) &&
    (os === '' || os.toLowerCase() === actual.os.toLowerCase())
  );
}
