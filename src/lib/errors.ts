/**
 * One error class for everything a caller may handle. `kind` decides the gRPC status and the HTTP code
 * (tables in `src/rpc/status.ts` and `src/api/errors.ts`); `retryable` decides whether the same call may succeed later.
 */
export const errorKinds = [
  'invalid', // the request is wrong and will stay wrong
  'not_found',
  'already_exists',
  'conflict', // the object changed since it was read ("update out of sequence")
  'failed_precondition', // right request, wrong state
  'permission_denied',
  'unauthenticated',
  'unavailable', // no leader, no quorum, peer away: may succeed later
  'deadline', // no answer in time: the outcome is unknown
  'exhausted', // a bound was reached
  'unimplemented', // known to Docker, not built here
  'cancelled',
  'internal',
] as const;

export type ErrorKind = (typeof errorKinds)[number];

export interface ClusterErrorOptions {
  readonly cause?: unknown;
  /** Default: true for `unavailable`, `deadline` and `exhausted`. */
  readonly retryable?: boolean;
}

export class ClusterError extends Error {
  override readonly name = 'ClusterError';
  readonly kind: ErrorKind;
  readonly retryable: boolean;

  constructor(kind: ErrorKind, message: string, options: ClusterErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.retryable = options.retryable ?? (kind === 'unavailable' || kind === 'deadline' || kind === 'exhausted');
  }
}

export function isKind(error: unknown, kind: ErrorKind): error is ClusterError {
  return error instanceof ClusterError && error.kind === kind;
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Wraps anything thrown that is not a ClusterError yet. */
export function toClusterError(error: unknown): ClusterError {
  return error instanceof ClusterError ? error : new ClusterError('internal', messageOf(error), { cause: error });
}
