/**
 * Contract for the node's networking. Containers are created in a network namespace that the driver prepares, keep it while
 * the daemon is away, and lose it when the task is removed. The real driver is the only code that calls `ip`, `bridge`, `nft` and
 * `conntrack`; `fake.ts` is the one of the simulator; `contract.ts` is the suite both pass.
 */

import type { NetworkState } from '../../model/network.ts';
import type { NetworkAddresses, NetworkProblem } from '../../model/objects.ts';
import type { HostPort } from '../../model/ports.ts';
import type { PortConfig } from '../../model/spec.ts';

export interface SandboxRequest {
  readonly taskId: string;
  readonly hostname: string;
  /** `host`: the host's own namespace; `none`: loopback only; `own`: a gateway and, besides, the attachments. */
  readonly mode: 'own' | 'host' | 'none';
  /** The networks it is on, in order: they become eth0, eth1, …; the gateway is its own interface (`gw0`). */
  readonly attachments: readonly NetworkAddresses[];
  /** Host-mode ports to publish on this host. One with number 0 gets a free one, and keeps it while the sandbox is there. */
  readonly hostPorts: readonly HostPort[];
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
  /** Path for the OCI spec's network namespace; empty: the host's. */
  readonly netnsPath: string;
  /** On the node's gateway subnet; absent for `host` and `none`. */
  readonly gateway?: string;
  /** Host files to bind over /etc/hosts, /etc/resolv.conf, /etc/hostname. */
  readonly hostsPath: string;
  readonly resolvConfPath: string;
  readonly hostnamePath: string;
  readonly ports: readonly PortConfig[];
}

export interface NetworkDriver {
  /** Makes the host right from what is on disk (sandboxes, the last state); safe to repeat; keeps the sandboxes that exist. */
  start(): Promise<void>;
  /**
   * Idempotent per task. Waits until the networks it is on are known here. Errors: `failed_precondition` when a host port is
   * taken, naming the port; `cancelled` on `signal`; `exhausted` when the node has no gateway address left.
   */
  attach(request: SandboxRequest, signal: AbortSignal): Promise<Sandbox>;
  /** Idempotent; unknown task = fine. */
  detach(taskId: string): Promise<void>;
  /** Ids of the tasks that have a sandbox here. */
  list(): Promise<readonly string[]>;
  /**
   * Makes the kernel and the names agree with what the managers say; see `NodeNetworks.apply`. The last state is kept on disk, so
   * that containers keep their networks when the host restarts without managers.
   */
  apply(state: NetworkState): Promise<readonly NetworkProblem[]>;
  /**
   * The state that was carried out last without a part that failed as a whole; undefined: none since the start. Behind what `apply` was
   * given: the kernel may still be as an older state says, and it is tried again.
   */
  inPlace(): NetworkState | undefined;
  /** Told as well when `inPlace` catches up. */
  onProblems(handle: (problems: readonly NetworkProblem[]) => void): void;
  /** Stops watching and serving in this process; containers keep their networks and their names. */
  close(): Promise<void>;
  /** Removes everything of this driver from the kernel (used by `leave` and by tests). */
  destroy(): Promise<void>;
}
