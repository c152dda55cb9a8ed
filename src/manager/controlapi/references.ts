/**
 * What a service shares with others: secrets, configs and networks exist, the files they become do not collide, and its published
 * ports are free.
 */
import type { ConfigReference, FileTarget, SecretReference, ServiceSpec } from '../../model/spec.ts';
import type { ClusterView } from '../../model/view.ts';
import { checkPortsFree, resolveNetworks } from './attachments.ts';
import { invalid, unsupported } from './context.ts';

/** The spec as stored: networks by id. `serviceId`: the service that it is for, absent for a new one. */
export function resolveReferences(view: ClusterView, spec: ServiceSpec, serviceId?: string): ServiceSpec {
  const container = spec.TaskTemplate.ContainerSpec;
  checkSecrets(view, container.Secrets ?? []);
  checkConfigs(view, container.Configs ?? []);
  checkPortsFree(view, spec, serviceId);
  const networks = resolveNetworks(view, spec);
  return networks === undefined ? spec : { ...spec, TaskTemplate: { ...spec.TaskTemplate, Networks: networks } };
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
