/**
 * The node's share of the network in the host's own namespace: gateway links of containers, egress, published ports of both kinds,
 * the link between nodes, guards. Reads what the kernel holds and changes what differs; touches nothing that does not carry its
 * names. The daemon must have been started in the host's namespace. design/network.md, "The host's part".
 */
import type { Clock } from '../../../lib/clock.ts';
import type { Log } from '../../../lib/log.ts';
import type { Plane } from '../planes.ts';
import { createKernel, type Kernel } from './kernel.ts';
import { HostPlane } from './plane.ts';

export interface HostPlaneOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Something may have changed for the better, e.g. a taken port may be free: sync again soon. Never called after `close`. */
  readonly again?: () => void;
  /** For tests; absent: this process's namespace. */
  readonly kernel?: Kernel;
}

export function createHostPlane(options: HostPlaneOptions): Plane {
  return new HostPlane(options.kernel ?? createKernel(), options);
}
