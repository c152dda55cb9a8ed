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
/** grpc-js's own words for calls that it gave up before it sent anything. */
const neverLeft =
  /^(No connection established|Name resolution|Stream refused by server|Channel closed before call started)/;
/** Its words for a deadline that passed before there was an address to send to. */
const unresolved = /^Deadline exceeded after .*waiting for name resolution/;

export interface StatusObject {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

/** Where the kind travels: an answer of the peer has it, what grpc-js says by itself has not. */
const kindKey = 'tscluster-kind';

export function toStatus(error: unknown): StatusObject {
  const { kind, message } = toClusterError(error);
  const metadata = new Metadata();
  metadata.set(kindKey, kind);
  return { code: codes[kind], details: message.slice(0, detailBytesMax), metadata };
}

/** Anything a gRPC call rejects with, as a ClusterError; `peer` names who was asked. */
export function fromServiceError(error: Error, peer: string): ClusterError {
  const { code, details = error.message, metadata } = error as Partial<ServiceError>;
  if (code === undefined) return toClusterError(error);
  const told = errorKinds.find((kind) => kind === metadata?.get(kindKey)[0]);
  if (told !== undefined) return new ClusterError(told, details, { cause: error });
  const kind = kindOfCode.get(code) ?? 'internal';
  if (kind === 'deadline' && unresolved.test(details)) {
    return new ClusterError('unavailable', `${peer} cannot be reached: its name could not be resolved in time`, {
      cause: error,
    });
  }
  if (kind !== 'unavailable') return new ClusterError(kind, details, { cause: error });
  // A request that never left was not carried out; one that was under way when the connection broke may have been.
  if (neverLeft.test(details)) {
    const reason = /Error: (.*?)\.? Resolution note/.exec(details)?.[1] ?? details;
    return new ClusterError('unavailable', `${peer} cannot be reached: ${reason}`, { cause: error });
  }
  return new ClusterError('deadline', `${peer} went away before it answered`, { cause: error });
}
