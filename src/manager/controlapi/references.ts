/** What a service refers to: secrets, configs and networks exist, and the files they become do not collide. */
import { ClusterError } from '../../lib/errors.ts';
import { find } from '../../model/lookup.ts';
import type {
  ConfigReference,
  FileTarget,
  NetworkAttachmentConfig,
  SecretReference,
  ServiceSpec,
} from '../../model/spec.ts';
import type { ClusterView } from '../../model/view.ts';
import { invalid, unsupported } from './context.ts';
import { networkWarning } from './network.ts';

/** The spec as stored: networks by id, and the warnings to answer with. */
export function resolveReferences(view: ClusterView, spec: ServiceSpec): { spec: ServiceSpec; warnings: string[] } {
  const container = spec.TaskTemplate.ContainerSpec;
  checkSecrets(view, container.Secrets ?? []);
  checkConfigs(view, container.Configs ?? []);
  const wanted = spec.TaskTemplate.Networks;
  if (wanted === undefined) return { spec, warnings: [] };
  const networks = wanted.map((network) => resolveNetwork(view, network));
  const resolved = { ...spec, TaskTemplate: { ...spec.TaskTemplate, Networks: networks } };
  return { spec: resolved, warnings: networks.length > 0 ? [networkWarning] : [] };
}

function checkSecrets(view: ClusterView, references: readonly SecretReference[]): void {
  const files = references.map((reference) => {
    if (reference.File === undefined || reference.SecretID === '' || reference.SecretName === '') {
      throw invalid('malformed secret reference');
    }
    return { name: reference.SecretName, id: reference.SecretID, file: reference.File };
  });
  checkTargets('secret', files);
  const missing = files.filter(({ id, name }) => view.get('secret', id)?.spec.Name !== name);
  checkNoneMissing('secret', missing);
}

function checkConfigs(view: ClusterView, references: readonly ConfigReference[]): void {
  const files = references.map((reference) => {
    if (reference.Runtime !== undefined) throw unsupported('configs of the runtime (credential specs) are');
    if (reference.File === undefined || reference.ConfigID === '' || reference.ConfigName === '') {
      throw invalid('malformed config reference');
    }
    return { name: reference.ConfigName, id: reference.ConfigID, file: reference.File };
  });
  checkTargets('config', files);
  const missing = files.filter(({ id, name }) => view.get('config', id)?.spec.Name !== name);
  checkNoneMissing('config', missing);
}

function checkTargets(kind: string, files: readonly { readonly name: string; readonly file: FileTarget }[]): void {
  const names = new Map<string, string>();
  for (const { name, file } of files) {
    if (file.Name === '') throw invalid(`malformed ${kind} reference, invalid target file name provided`);
    if (file.Name.split('/').includes('..'))
      throw invalid(`malformed ${kind} reference: target '${file.Name}' leaves its directory`);
    const other = names.get(file.Name);
    if (other !== undefined) {
      throw invalid(`${kind} references '${other}' and '${name}' have a conflicting target: '${file.Name}'`);
    }
    if (!/^\d+$/.test(file.UID || '0') || !/^\d+$/.test(file.GID || '0')) {
      throw invalid(`malformed ${kind} reference: uid and gid of '${name}' must be numbers`);
    }
    names.set(file.Name, name);
  }
}

function checkNoneMissing(kind: string, missing: readonly { readonly name: string }[]): void {
  if (missing.length === 0) return;
  const names = missing.map(({ name }) => name).join(', ');
  throw invalid(`${kind}${missing.length > 1 ? 's' : ''} not found: ${names}`);
}

const builtinNetworks = new Set(['host', 'none', 'bridge', 'ingress']);

/** Clients send a network's id or, as `docker stack deploy` does, its name. */
function resolveNetwork(view: ClusterView, wanted: NetworkAttachmentConfig): NetworkAttachmentConfig {
  const name = wanted.Target;
  if (name === 'ingress') throw invalid('Service cannot be explicitly attached to the ingress network "ingress"');
  if (builtinNetworks.has(name)) throw unsupported(`services on the network "${name}" are`);
  if (Object.keys(wanted.DriverOpts ?? {}).length > 0) throw unsupported('driver options of network attachments are');
  const network = find(view, 'network', wanted.Target);
  if (network === undefined) throw new ClusterError('not_found', `network ${wanted.Target} not found`);
  return { ...wanted, Target: network.id };
}
