/** ClusterError ⇄ gRPC status. The kind travels in metadata too, since several kinds share a code. */
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { ClusterError, type ErrorKind, errorKinds, toClusterError } from '../lib/errors.ts';

const codes = {
  invalid: status.INVALID_ARGUMENT,
  not_found: status.NOT_FOUND,
  already_exists: status.ALREADY_EXISTS,
  conflict: status.ABORTED,
  failed_precondition: status.FAILED_PRECONDITION,
  permission_denied: status.PERMISSION_DENIED,
  unauthenticated: status.UNAUTHENTICATED,
  unavailable: status.UNAVAILABLE,
  deadline: status.DEADLINE_EXCEEDED,
  exhausted: status.RESOURCE_EXHAUSTED,
  unimplemented: status.UNIMPLEMENTED,
  cancelled: status.CANCELLED,
  internal: status.INTERNAL,
} as const satisfies Record<ErrorKind, status>;

const kindOfCode = new Map<number, ErrorKind>(errorKinds.map((kind) => [codes[kind], kind]));
const detailBytesMax = 4096;

export interface StatusObject {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

export function toStatus(error: unknown): StatusObject {
  const { kind, message } = toClusterError(error);
  return { code: codes[kind], details: message.slice(0, detailBytesMax), metadata: new Metadata() };
}

/** Anything a gRPC call rejects with, as a ClusterError; `peer` names who was asked. */
export function fromServiceError(error: Error, peer: string): ClusterError {
  const code = (error as Partial<ServiceError>).code;
  if (code === undefined) return toClusterError(error);
  const kind = kindOfCode.get(code) ?? 'internal';
  const details = (error as ServiceError).details;
  if (kind !== 'unavailable') return new ClusterError(kind, details, { cause: error });
  // grpc-js's own words for a connection that failed, as opposed to an answer of the peer. A request that was under way when the
  // connection broke may have been carried out; one that never left was not.
  const reason = /Error: (.*?)\.? Resolution note/.exec(details)?.[1] ?? details;
  if (details.startsWith('Connection dropped'))
    return new ClusterError('deadline', `${peer} went away before it answered`, { cause: error });
  if (/^(No connection established|Name resolution)/.test(details)) {
    return new ClusterError('unavailable', `${peer} cannot be reached: ${reason}`, { cause: error });
  }
  return new ClusterError('unavailable', details, { cause: error });
}
