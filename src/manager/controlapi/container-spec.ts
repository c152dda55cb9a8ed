/** Checks of what runs in a task. What Docker refuses is refused in its words; what is not built is refused by name. */
import { ClusterError } from '../../lib/errors.ts';
import { signalNumber } from '../../model/signal.ts';
import type { ContainerSpec, Healthcheck, Mount, Privileges } from '../../model/spec.ts';
import { checkUlimitName } from '../../model/ulimit.ts';
import { invalid, unsupported } from './context.ts';
import { checkImage } from './image.ts';
import { checkTemplates } from './templates.ts';

const millisecond = 1_000_000;

export function checkContainerSpec(spec: ContainerSpec): void {
  checkImage(spec.Image);
  checkMounts(spec.Mounts ?? []);
  if (spec.Healthcheck !== undefined) checkHealthcheck(spec.Healthcheck);
  if ((spec.StopGracePeriod ?? 0) < 0) throw invalid('ContainerSpec: StopGracePeriod cannot be negative');
  checkPrivileges(spec.Privileges);
  checkIsolation(spec.Isolation);
  checkTemplates(spec);
  for (const variable of spec.Env ?? []) {
    if (variable === '' || variable.startsWith('=')) throw invalid(`invalid environment variable: ${variable}`);
  }
  if (spec.StopSignal) signalNumber(spec.StopSignal); // refuses what nobody knows
  for (const ulimit of spec.Ulimits ?? []) {
    checkUlimitName(ulimit.Name);
    if (ulimit.Soft > ulimit.Hard && ulimit.Hard !== -1) {
      throw invalid(`ulimit soft limit must be less than or equal to hard limit: ${ulimit.Soft} > ${ulimit.Hard}`);
    }
  }
  if (Math.abs(spec.OomScoreAdj ?? 0) > 1000) {
    throw invalid(`Invalid value ${spec.OomScoreAdj}, range for oom score adj is [-1000, 1000]`);
  }
}

function checkMounts(mounts: readonly Mount[]): void {
  const targets = new Set<string>();
  for (const mount of mounts) {
    checkMount(mount);
    if (targets.has(mount.Target)) throw invalid(`ContainerSpec: duplicate mount point: ${mount.Target}`);
    targets.add(mount.Target);
  }
}

function checkMount(mount: Mount): void {
  if (mount.Target === '') throw mountError(mount, 'field Target must not be empty');
  if (!mount.Target.startsWith('/')) {
    throw mountError(mount, `invalid mount path: '${mount.Target}' mount path must be absolute`);
  }
  switch (mount.Type) {
    case 'bind':
      return checkBind(mount);
    case 'volume':
      return checkVolume(mount);
    case 'tmpfs':
      if (mount.Source) throw mountError(mount, 'field Source must not be specified');
      if ((mount.TmpfsOptions?.SizeBytes ?? 0) < 0) throw mountError(mount, 'negative size is not allowed');
      return;
    case 'npipe':
    case 'cluster':
    case 'image':
      throw unsupported(`mounts of type ${mount.Type} are`);
    default:
      throw invalid(`invalid mount config for type "${mount.Type}": mount type unknown`);
  }
}

function checkBind(mount: Mount): void {
  if (!mount.Source) throw mountError(mount, 'field Source must not be empty');
  if (!mount.Source.startsWith('/')) {
    throw mountError(mount, `invalid mount path: '${mount.Source}' mount path must be absolute`);
  }
}

function checkVolume(mount: Mount): void {
  const options = mount.VolumeOptions;
  const driver = options?.DriverConfig;
  if (driver?.Name && driver.Name !== 'local') throw unsupported(`volume driver "${driver.Name}" is`);
  if (Object.keys(driver?.Options ?? {}).length > 0) throw unsupported('volume driver options are');
  if (options?.Subpath) throw unsupported('volume subpaths are');
}

function mountError(mount: Mount, reason: string): ClusterError {
  return invalid(`invalid mount config for type "${mount.Type}": ${reason}`);
}

function checkHealthcheck(check: Healthcheck): void {
  const durations = {
    Interval: check.Interval,
    Timeout: check.Timeout,
    StartPeriod: check.StartPeriod,
    StartInterval: check.StartInterval,
  };
  for (const [name, value] of Object.entries(durations)) {
    if (value !== undefined && value !== 0 && value < millisecond) {
      throw invalid(`ContainerSpec: ${name} in HealthConfig cannot be less than 1ms`);
    }
  }
  if ((check.Retries ?? 0) < 0) throw invalid('ContainerSpec: Retries in HealthConfig cannot be negative');
  const kind = check.Test?.[0];
  if (kind !== undefined && !['', 'NONE', 'CMD', 'CMD-SHELL'].includes(kind)) {
    throw invalid(`ContainerSpec: Unknown type "${kind}" in HealthConfig, it must be one of NONE, CMD, CMD-SHELL`);
  }
}

function checkPrivileges(privileges: Privileges | undefined): void {
  if (privileges === undefined) return;
  if (hasContent(privileges.CredentialSpec)) throw unsupported('credential specs are');
  if (hasContent(privileges.SELinuxContext)) throw unsupported('SELinux contexts are');
  const seccomp = privileges.Seccomp?.Mode;
  if (seccomp && seccomp !== 'default') throw unsupported(`seccomp mode "${seccomp}" is`);
  if (privileges.Seccomp?.Profile) throw unsupported('custom seccomp profiles are');
  const appArmor = privileges.AppArmor?.Mode;
  if (appArmor && appArmor !== 'default') throw unsupported(`AppArmor mode "${appArmor}" is`);
}

function hasContent(value: Readonly<Record<string, unknown>> | undefined): boolean {
  return Object.values(value ?? {}).some(
    (item) => item !== '' && item !== false && item !== null && item !== undefined,
  );
}

function checkIsolation(isolation: string | undefined): void {
  if (isolation && isolation !== 'default')
    throw invalid(`invalid isolation (${isolation}): Linux only supports "default"`);
}
