/** Linux capabilities by Docker's rules. Pure. */
import { ClusterError } from '../../lib/errors.ts';

export const defaultCapabilities: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];

/** In the kernel's order, up to CAP_CHECKPOINT_RESTORE (40). */
export const allCapabilities: readonly string[] =
  `CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
  NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
  SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
  MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`
    .split(/\s+/)
    .map((name) => `CAP_${name}`);

/** The bounding set of a container: defaults − drop + add; `ALL` stands for every capability the kernel knows. */
export function resolveCapabilities(
  add: readonly string[],
  drop: readonly string[],
  known: readonly string[] = allCapabilities,
): readonly string[] {
  const added = add.map(normalize);
  const dropped = drop.map(normalize);
  const base = added.includes('ALL') ? known : defaultCapabilities;
  const kept = dropped.includes('ALL') && !added.includes('ALL') ? [] : base.filter((name) => !dropped.includes(name));
  const extra = added.filter((name) => name !== 'ALL' && !kept.includes(name));
  return [...kept, ...new Set(extra)];
}

function normalize(name: string): string {
  const upper = name.toUpperCase();
  if (upper === 'ALL') return 'ALL';
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (!allCapabilities.includes(full)) throw new ClusterError('invalid', `invalid capability: "${name}"`);
  return full;
}
