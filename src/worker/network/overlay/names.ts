/** What overlay networks are called in the kernel: functions of ids, so that everything is found again after a kill. */
import { createHash } from 'node:crypto';

export const bridge = 'br0';
export const table = 'tsc';

/** Of tasks' namespaces the part behind the prefix has no `-`. */
export function networkNetns(prefix: string, networkId: string): string {
  return `${networkNetnsBegin(prefix)}${networkId.slice(0, 12)}`;
}

export function networkNetnsBegin(prefix: string): string {
  return `${prefix}-net-`;
}

export function vxlanName(vni: number): string {
  return `vx${vni}`;
}

/** The bridge's end of a container's link: never `vx…`, since x is no hex digit. */
export function portName(taskId: string, networkId: string): string {
  return `v${hash8(`${taskId} ${networkId}`)}`;
}

export function isPortName(name: string): boolean {
  return /^v[0-9a-f]{8}$/.test(name);
}

export function hash8(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
