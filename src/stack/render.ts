import { stringify } from 'yaml';
import type { StackFile } from './document.ts';

/** The merged file in long forms, services sorted: what `stack config` prints. */
export function renderStack(file: StackFile): string {
  const sorted = <T>(entries: Readonly<Record<string, T>>) =>
    Object.fromEntries(Object.entries(entries).sort(([a], [b]) => (a < b ? -1 : 1)));
  const sections = {
    services: sorted(file.services),
    networks: sorted(file.networks),
    volumes: sorted(file.volumes),
    secrets: sorted(file.secrets),
    configs: sorted(file.configs),
  };
  const kept = Object.entries(sections).filter(([, entries]) => Object.keys(entries).length > 0);
  return stringify(
    { version: file.version, ...Object.fromEntries(kept) },
    { lineWidth: 0, aliasDuplicateObjects: false },
  );
}
