export { fromRaft, noLeaderMessage, quorumLossMessage } from './errors.ts';
export { loadDataKeys, loadKek } from './keys.ts';
export { RaftManager, type RaftManagerOptions, type RaftPorts } from './manager.ts';
export type { Member } from './members.ts';
export { raftRuntime } from './runtime.ts';
export { createSealer, type DataKey } from './sealer.ts';
export { openRaftStorage, type RaftStorage, type RaftStorageOptions, removeRaftStorage } from './storage.ts';
