export type { ConfResult } from './confchange.ts';
export {
  changeConf,
  checkConf,
  decodeConfChange,
  emptyConf,
  encodeConfChange,
  enterJoint,
  isJoint,
  leaveJoint,
  members,
  normalConf,
  simpleChange,
} from './confchange.ts';
export { RaftFault } from './errors.ts';
export type { VoteResult } from './quorum.ts';
export { allVoters, jointIndex, jointVote, majorityIndex, majorityVote } from './quorum.ts';
export { RaftCore } from './raft.ts';
export type { SyncReady } from './sync.ts';
export { SyncRaft } from './sync.ts';
export * from './types.ts';
