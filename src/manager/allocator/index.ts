/**
 * The allocator: the leader loop that gives out addresses. Subnets and VXLAN ids of networks, virtual addresses and published
 * ports of services, addresses of tasks, each node's place. The only writer of these (but for `resting`, which a removed service
 * leaves behind). It promises that nothing has two owners, that an address is used by nobody for `addressRestMs` after its last
 * owner ended, that what cannot be given says why on the object that lacks it and is given as soon as it is there; and that
 * work is per change. It holds all of it in memory, built from the store alone. It never polls, and never takes anything back.
 */
import type { LeaderLoop } from '../store/port.ts';
import { AllocatorLoop, type AllocatorOptions } from './loop.ts';

export function createAllocator(options: AllocatorOptions): LeaderLoop {
  return new AllocatorLoop(options);
}
