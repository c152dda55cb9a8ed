/** Hand-written codec for everything that raft-ts puts on the wire or on disk (raft.proto). Pure: no Node built-ins. */
export { approximateSize, decodeBatch, decodeMessage, encodeBatch, encodeMessage } from './message.ts';
export {
  decodeConfState,
  decodeEntry,
  decodeHardState,
  decodeSnapshotMeta,
  encodeConfState,
  encodeEntry,
  encodeHardState,
  encodeSnapshotMeta,
} from './state.ts';
export { CodecError } from './wire.ts';
