/**
 * Contract for the node's networking. Containers are created in a network namespace that the driver prepares, keep it while
 * the daemon is away, and lose it when the task is removed. The real driver is the only code that calls `ip` and `nft`.
 */
import type { PortConfig } from '../../model/spec.ts';

export interface SandboxRequest {
  readonly taskId: string;
  readonly hostname: string;
  /** Host-mode ports to publish on this host. */
  readonly hostPorts: readonly { readonly port: number; readonly protocol: string; readonly target: number }[];
  readonly dns: {
    readonly nameservers: readonly string[];
    readonly search: readonly string[];
    readonly options: readonly string[];
  };
  /** `IP host [alias…]` lines for /etc/hosts. */
  readonly extraHosts: readonly string[];
}

export interface Sandbox {
  readonly taskId: string;
  /** Path for the OCI spec's network namespace. */
  readonly netnsPath: string;
  readonly address: string;
  /** Host files to bind over /etc/hosts, /etc/resolv.conf, /etc/hostname. */
  readonly hostsPath: string;
  readonly resolvConfPath: string;
  readonly hostnamePath: string;
  readonly ports: readonly PortConfig[];
}

export interface NetworkDriver {
  /** Makes bridge, nftables tables and forwarding right; safe to repeat; keeps the sandboxes that exist. */
  start(): Promise<void>;
  /** Idempotent per task. Errors: `failed_precondition` when a host port is taken, naming the port. */
  attach(request: SandboxRequest): Promise<Sandbox>;
  /** Idempotent; unknown task = fine. */
  detach(taskId: string): Promise<void>;
  /** Ids of the tasks that have a sandbox here. */
  list(): Promise<readonly string[]>;
  /** Removes everything of this driver from the kernel (used by `leave` and by tests). */
  destroy(): Promise<void>;
}
