/**
 * The services between nodes. Payloads are JSON documents (the model's own types) in gRPC messages: they are made and
 * read by the engine's native code, and unknown fields pass, which rolling upgrades need. Raft's own traffic, where bytes
 * count, has its binary codec in raft-ts. Each payload is checked on arrival (`codec.ts`).
 */
import type { MethodDefinition } from '@grpc/grpc-js';
import { ClusterError } from '../lib/errors.ts';

export const messageBytesMax = 16 * 1024 * 1024;

type Document = object;

function serialize(document: Document): Buffer {
  return Buffer.from(JSON.stringify(document));
}

function deserialize(bytes: Buffer): Document {
  let parsed: unknown;
  try {
    parsed = JSON.parse(bytes.toString());
  } catch (cause) {
    throw new ClusterError('invalid', 'message is not JSON', { cause });
  }
  if (typeof parsed !== 'object' || parsed === null) throw new ClusterError('invalid', 'message is not an object');
  return parsed;
}

function method(path: string, streaming: boolean): MethodDefinition<Document, Document> {
  return {
    path: `/tscluster.v1.${path}`,
    requestStream: streaming,
    responseStream: streaming,
    requestSerialize: serialize,
    requestDeserialize: deserialize,
    responseSerialize: serialize,
    responseDeserialize: deserialize,
  };
}

/** Who may call what is decided in `server.ts` from this same list. */
export const managerMethods = {
  rootCa: method('CA/RootCa', false),
  issueCertificate: method('CA/IssueCertificate', false),
  session: method('Dispatcher/Session', true),
  call: method('Control/Call', false),
  joinRaft: method('Membership/Join', false),
  leaveRaft: method('Membership/Leave', false),
  withdraw: method('Membership/Withdraw', false),
  logs: method('Logs/Read', true),
} as const;

export type ManagerMethod = keyof typeof managerMethods;
