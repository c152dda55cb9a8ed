/** Looks up what a spec names: secrets, configs and networks. */
import type { Client } from '../../client/index.ts';
import { ClusterError } from '../../lib/errors.ts';
import type { ConfigReference, NetworkAttachmentConfig, SecretReference } from '../../model/spec.ts';
import type { FileReference } from './parse-values.ts';

export async function resolveSecrets(client: Client, references: readonly FileReference[]): Promise<SecretReference[]> {
  checkTargets('secret', references);
  const ids = await idsByName('secret', references, (name) => client.secrets({ name }));
  return references.map(({ source, file }) => ({ File: file, SecretID: ids.get(source) ?? '', SecretName: source }));
}

export async function resolveConfigs(client: Client, references: readonly FileReference[]): Promise<ConfigReference[]> {
  checkTargets('config', references);
  const ids = await idsByName('config', references, (name) => client.configs({ name }));
  return references.map(({ source, file }) => ({ File: file, ConfigID: ids.get(source) ?? '', ConfigName: source }));
}

function checkTargets(kind: string, references: readonly FileReference[]): void {
  const targets = new Set<string>();
  for (const { source, file } of references) {
    if (targets.has(file.Name)) throw new ClusterError('invalid', `duplicate ${kind} target for ${source} not allowed`);
    targets.add(file.Name);
  }
}

interface Named {
  readonly ID: string;
  readonly Spec: { readonly Name: string };
}

async function idsByName(
  kind: string,
  references: readonly FileReference[],
  fetch: (names: string[]) => Promise<readonly Named[]>,
): Promise<Map<string, string>> {
  if (references.length === 0) return new Map();
  const names = [...new Set(references.map(({ source }) => source))];
  const ids = new Map((await fetch(names)).map((object) => [object.Spec.Name, object.ID]));
  const missing = names.find((name) => !ids.has(name));
  if (missing !== undefined) throw new ClusterError('not_found', `${kind} not found: ${missing}`);
  return ids;
}

/** Names become ids; sorted by id, as Docker does. */
export async function resolveNetworks(
  client: Client,
  networks: readonly NetworkAttachmentConfig[],
): Promise<NetworkAttachmentConfig[]> {
  const resolved = await Promise.all(
    networks.map(async (network) => ({ ...network, Target: (await client.network(network.Target)).Id })),
  );
  return resolved.sort((a, b) => (a.Target < b.Target ? -1 : 1));
}
