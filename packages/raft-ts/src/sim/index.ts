/** Fakes of every port, deterministic under a Runtime: what a cluster simulator is made of. */
export type { Network, Parcel } from '../transport/memory.ts';
export { instantNetwork, MemoryBus, MemoryTransport as SimTransport } from '../transport/memory.ts';
export { Chance } from './chance.ts';
export { Coverage } from './coverage.ts';
export * from './linearizability/index.ts';
export { seededRandom, VirtualRuntime, type VirtualRuntimeOptions } from './runtime.ts';
export { type Shrunk, shrink } from './shrink.ts';
export { type Run, simulate } from './simulate.ts';
export { batchMin, missed, situations } from './situations.ts';
export { type MemoryLogOptions, MemoryLogStore, MemorySnapshotStore } from './stores.ts';
export { drawSwarm, type FaultClass, faultClasses, type Swarm } from './swarm.ts';
export { StepLimit, Violation, type WorldOptions } from './world.ts';
