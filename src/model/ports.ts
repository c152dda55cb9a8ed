/** Published ports: which of them get in each other's way, and which of them a task's node takes. */
import type { PortConfig, ServiceSpec } from './spec.ts';

export type PublishMode = 'ingress' | 'host';

export function publishMode({ PublishMode: mode }: PortConfig): PublishMode {
  return mode === 'host' ? 'host' : 'ingress';
}

/** `tcp/8080`. */
export function portKey({ Protocol }: PortConfig, published: number): string {
  return `${Protocol || 'tcp'}/${published}`;
}

/** The address that a port is published on; undefined: all of the host's. */
export function hostIpOf({ HostIP: ip }: PortConfig): string | undefined {
  return ip === undefined || ip === '' || ip === '0.0.0.0' || ip === '::' ? undefined : ip;
}

/** True when the two cannot be published side by side: on the same addresses, and one of them by every node. */
export function collide(one: PortConfig, other: PortConfig): boolean {
  const [here, there] = [hostIpOf(one), hostIpOf(other)];
  if (here !== undefined && there !== undefined && here !== there) return false;
  return publishMode(one) === 'ingress' || publishMode(other) === 'ingress';
}

/** Docker's words. */
export function portInUse(
  published: number,
  { name, id, mode }: { readonly name: string; readonly id: string; readonly mode: PublishMode },
): string {
  const how = mode === 'ingress' ? 'as an ingress port' : 'as a host-published port';
  return `port '${published}' is already in use by service '${name}' (${id}) ${how}`;
}

export interface HostPort {
  /** 0: the node chooses a free one. */
  readonly port: number;
  readonly protocol: string;
  readonly target: number;
  /** Publish on this address of the host only; absent: on all. */
  readonly hostIp?: string;
}

/** Host-mode ports that a task of this spec takes on its node. */
export function hostPortsOf(endpoint: ServiceSpec['EndpointSpec']): readonly HostPort[] {
  return (endpoint?.Ports ?? [])
    .filter((port) => publishMode(port) === 'host')
    .map((port) => {
      const hostIp = hostIpOf(port);
      return {
        port: port.PublishedPort ?? 0,
        protocol: port.Protocol || 'tcp',
        target: port.TargetPort,
        ...(hostIp === undefined ? {} : { hostIp }),
      };
    });
}

/** Those whose number is known before a node is. */
export function fixedHostPortsOf(endpoint: ServiceSpec['EndpointSpec']): readonly HostPort[] {
  return hostPortsOf(endpoint).filter(({ port }) => port > 0);
}
