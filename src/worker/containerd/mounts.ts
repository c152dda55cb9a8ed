/** A task's mounts as OCI mounts: volumes made and filled, bind sources checked, secrets and configs written. */
import { mkdir, stat } from 'node:fs/promises';
import { posix } from 'node:path';
import { ClusterError } from '../../lib/errors.ts';
import type { AssignedTask } from '../../model/assignment.ts';
import type { Mount } from '../../model/spec.ts';
import type { Dependencies } from '../executor/port.ts';
import type { Sandbox } from '../network/port.ts';
import { isMissing } from '../storage/files.ts';
import type { TaskFile, TaskFiles } from '../storage/task-files.ts';
import type { Volumes } from '../storage/volumes.ts';
import type { ImageConfig } from './registry/manifest.ts';
import type { OciMount } from './spec.ts';
import { expandTemplate, type TemplateContext } from './template.ts';

export interface MountContext {
  readonly task: AssignedTask;
  readonly image: ImageConfig;
  readonly templates: TemplateContext;
  readonly volumes: Volumes;
  readonly taskFiles: TaskFiles;
  readonly dependencies: Dependencies;
  readonly sandbox: Sandbox;
  withImage(work: (root: string) => Promise<void>): Promise<void>;
}

const propagations = new Set(['', 'private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave']);

export async function taskMounts(context: MountContext): Promise<readonly OciMount[]> {
  const { task, image, sandbox } = context;
  const container = task.spec.ContainerSpec;
  const mounts: OciMount[] = [];
  const wanted = (container.Mounts ?? []).map((mount) => ({
    ...mount,
    Source: expandTemplate(mount.Source ?? '', context.templates, 'mount source'),
    Target: cleanTarget(expandTemplate(mount.Target, context.templates, 'mount target')),
  }));
  for (const [at, mount] of wanted.entries()) mounts.push(await mountOf(context, mount, at));
  const covered = new Set(mounts.map((mount) => mount.destination));
  for (const [at, path] of image.volumes.entries()) {
    const target = cleanTarget(path);
    if (covered.has(target)) continue;
    mounts.push(await volumeMount(context, { Type: 'volume', Source: '', Target: target }, wanted.length + at));
  }
  const files = await context.taskFiles.write(task.id, filesOf(task, context.dependencies));
  for (const file of files) mounts.push(readOnlyFile(file.source, file.destination));
  const readOnly = container.ReadOnly === true ? 'ro' : 'rw';
  const etc = {
    '/etc/hosts': sandbox.hostsPath,
    '/etc/resolv.conf': sandbox.resolvConfPath,
    '/etc/hostname': sandbox.hostnamePath,
  };
  for (const [destination, source] of Object.entries(etc)) {
    if (source === '' || mounts.some((mount) => mount.destination === destination)) continue;
    mounts.push({ destination, type: 'bind', source, options: ['rbind', 'rprivate', readOnly] });
  }
  return mounts;
}

function mountOf(context: MountContext, mount: Mount, at: number): Promise<OciMount> | OciMount {
  if (mount.Type === 'bind') return bindMount(mount);
  if (mount.Type === 'volume') return volumeMount(context, mount, at);
  if (mount.Type === 'tmpfs') return tmpfsMount(mount);
  throw new ClusterError('unimplemented', `a mount of type "${mount.Type}" is not supported yet`);
}

async function bindMount(mount: Mount): Promise<OciMount> {
  const source = mount.Source ?? '';
  if (!source.startsWith('/'))
    throw invalidMount('bind', `invalid mount path: '${source}' mount path must be absolute`);
  if (mount.BindOptions?.CreateMountpoint === true) await mkdir(source, { recursive: true });
  try {
    await stat(source);
  } catch (error) {
    if (isMissing(error)) throw invalidMount('bind', `bind source path does not exist: ${source}`);
    throw error;
  }
  const propagation = mount.BindOptions?.Propagation ?? '';
  if (!propagations.has(propagation)) throw invalidMount('bind', `invalid propagation mode: ${propagation}`);
  const bind = mount.BindOptions?.NonRecursive === true ? 'bind' : 'rbind';
  const recursiveReadOnly = mount.BindOptions?.ReadOnlyForceRecursive === true ? 'rro' : 'ro';
  const access = mount.ReadOnly === true ? recursiveReadOnly : 'rw';
  const options = [bind, propagation === '' ? 'rprivate' : propagation, access];
  return { destination: mount.Target, type: 'bind', source, options };
}

async function volumeMount(context: MountContext, mount: Mount, at: number): Promise<OciMount> {
  const options = mount.VolumeOptions;
  const driver = options?.DriverConfig;
  if (driver?.Name !== undefined && !['', 'local'].includes(driver.Name)) {
    throw new ClusterError('unimplemented', `volume driver "${driver.Name}" is not supported yet`);
  }
  if (Object.keys(driver?.Options ?? {}).length > 0) {
    throw new ClusterError('unimplemented', 'options of the local volume driver are not supported yet');
  }
  if (options?.Subpath !== undefined && options.Subpath !== '') {
    throw new ClusterError('unimplemented', 'a volume subpath is not supported yet');
  }
  const anonymous = mount.Source === undefined || mount.Source === '';
  const { id } = context.task;
  const name = anonymous ? `${id}-${at}` : (mount.Source ?? '');
  const labels = options?.Labels ?? {};
  const request = { name, labels, target: mount.Target, copy: options?.NoCopy !== true };
  const source = await context.volumes.ensure(anonymous ? { ...request, taskId: id } : request, context.withImage);
  const access = mount.ReadOnly === true ? 'ro' : 'rw';
  return { destination: mount.Target, type: 'bind', source, options: ['rbind', 'rprivate', access] };
}

function tmpfsMount(mount: Mount): OciMount {
  const { SizeBytes, Mode, Options } = mount.TmpfsOptions ?? {};
  const flags = (Options ?? []).map((option) => option.join('='));
  const options = [
    'noexec',
    'nosuid',
    'nodev',
    ...flags.flatMap((flag) => (flag === 'exec' ? ['exec'] : [flag])),
    ...(SizeBytes === undefined || SizeBytes === 0 ? [] : [`size=${SizeBytes}`]),
    ...(Mode === undefined || Mode === 0 ? [] : [`mode=${Mode.toString(8)}`]),
    ...(mount.ReadOnly === true ? ['ro'] : []),
  ];
  return { destination: mount.Target, type: 'tmpfs', source: 'tmpfs', options };
}

function readOnlyFile(source: string, destination: string): OciMount {
  return { destination, type: 'bind', source, options: ['bind', 'rprivate', 'ro', 'nosuid', 'nodev', 'noexec'] };
}

/** The task's secrets and configs; one that has not arrived yet may still come. */
function filesOf(task: AssignedTask, dependencies: Dependencies): readonly TaskFile[] {
  const container = task.spec.ContainerSpec;
  const secrets = (container.Secrets ?? []).map((reference): TaskFile => {
    const secret = dependencies.secret(reference.SecretID);
    if (secret === undefined) throw notHere('secret', reference.SecretName);
    refuseTemplating('secret', secret.spec);
    return { kind: 'secret', name: reference.SecretName, file: reference.File, data: secret.spec.Data };
  });
  const configs = (container.Configs ?? []).map((reference): TaskFile => {
    const config = dependencies.config(reference.ConfigID);
    if (config === undefined) throw notHere('config', reference.ConfigName);
    refuseTemplating('config', config.spec);
    return { kind: 'config', name: reference.ConfigName, file: reference.File, data: config.spec.Data };
  });
  return [...secrets, ...configs];
}

function refuseTemplating(kind: string, spec: { readonly Templating?: { readonly Name: string } }): void {
  if (spec.Templating === undefined || spec.Templating.Name === '') return;
  throw new ClusterError('unimplemented', `a templated ${kind} is not supported yet`);
}

function notHere(kind: string, name: string): ClusterError {
  return new ClusterError('unavailable', `${kind} "${name}" has not reached this node`);
}

function cleanTarget(target: string): string {
  const clean = posix.normalize(target).replace(/(.)\/$/, '$1');
  if (!clean.startsWith('/') || clean === '/') throw invalidMount('volume', `invalid mount path: '${target}'`);
  return clean;
}

function invalidMount(type: string, reason: string): ClusterError {
  return new ClusterError('invalid', `invalid mount config for type "${type}": ${reason}`);
}
