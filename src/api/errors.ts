import type { ErrorKind } from '../lib/errors.ts';

/** Docker's HTTP status per kind of error. A stale version is 409 here, where Docker answers 500. */
export const httpStatus = {
  invalid: 400,
  not_found: 404,
  already_exists: 409,
  conflict: 409,
  failed_precondition: 400,
  permission_denied: 403,
  unauthenticated: 401,
  unavailable: 503,
  deadline: 504,
  exhausted: 429,
  unimplemented: 501,
  cancelled: 499,
  internal: 500,
} as const satisfies Record<ErrorKind, number>;
