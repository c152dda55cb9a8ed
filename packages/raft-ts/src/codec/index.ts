/** Hand-written codec for everything that raft-ts puts on the wire or on disk. Pure: no Node built-ins. */
export * from './message.ts';
export * from './state.ts';
export { CodecError } from './wire.ts';
