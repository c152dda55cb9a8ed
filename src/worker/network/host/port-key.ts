/** A port of the host that something publishes. */
export interface PortKey {
  readonly protocol: string;
  readonly port: number;
  /** Absent: all addresses of the host. */
  readonly hostIp?: string;
}

export function portKey({ protocol, port, hostIp }: PortKey): string {
  return `${hostIp ?? '0.0.0.0'}:${port}/${protocol}`;
}

/** Some addresses mean "all", as Docker's clients send them. */
export function hostIpOf(hostIp: string | undefined): { readonly hostIp?: string } {
  return hostIp === undefined || ['', '0.0.0.0', '::'].includes(hostIp) ? {} : { hostIp };
}

export function taskOwner(taskId: string): string {
  return `task ${taskId}`;
}

export function serviceOwner(serviceId: string): string {
  return `service ${serviceId}`;
}

/** Two may want the same port; one of them has it. */
export function claimKey(owner: string, key: PortKey): string {
  return `${owner} ${portKey(key)}`;
}
