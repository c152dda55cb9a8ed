/** The service definition: frames are encoded by the transport, so gRPC carries plain bytes. */
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { Metadata } from '@grpc/grpc-js';
import type { NodeId } from '../../core/types.ts';

/** Raised when older versions would misunderstand; peers of another one are refused. */
export const protocolVersion = 1;

function method(name: string): MethodDefinition<Buffer, Buffer> {
  const same = (bytes: Buffer): Buffer => bytes;
  return {
    path: `/raft.v1.Raft/${name}`,
    requestStream: true,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

export const raftDefinition = {
  messages: method('Messages'),
  snapshot: method('Snapshot'),
} satisfies ServiceDefinition;

export interface Route {
  readonly cluster: string;
  readonly from: NodeId;
  readonly to: NodeId;
}

export function metadataFor(route: Route): Metadata {
  const metadata = new Metadata();
  metadata.set('raft-version', String(protocolVersion));
  metadata.set('raft-cluster', route.cluster);
  metadata.set('raft-from', String(route.from));
  metadata.set('raft-to', String(route.to));
  return metadata;
}

/** The sender, or why the call is refused. */
export function checkRoute(
  metadata: Metadata,
  here: { readonly cluster: string; readonly id: NodeId },
): NodeId | string {
  const field = (name: string): string => String(metadata.get(name)[0] ?? '');
  if (field('raft-version') !== String(protocolVersion)) {
    return `protocol version "${field('raft-version')}" is not ${String(protocolVersion)}`;
  }
  if (field('raft-cluster') !== here.cluster) return 'the call is meant for another cluster';
  if (field('raft-to') !== String(here.id)) return `the call is meant for node "${field('raft-to')}"`;
  const from = Number(field('raft-from'));
  if (!Number.isSafeInteger(from) || from < 1 || from === here.id)
    return `sender "${field('raft-from')}" is not a peer`;
  return from;
}
