/** Fakes of every port, deterministic under a Runtime: what a cluster simulator is made of. */
export type { Network, Parcel } from '../transport/memory.ts';
export { instantNetwork, MemoryBus, MemoryTransport as SimTransport } from '../transport/memory.ts';
export { seededRandom, VirtualRuntime, type VirtualRuntimeOptions } from './runtime.ts';
export { type MemoryLogOptions, MemoryLogStore, MemorySnapshotStore } from './stores.ts';
