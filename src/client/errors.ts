import { ClusterError, type ErrorKind } from '../lib/errors.ts';

/** The daemon answered with an error; the message is the daemon's own. */
export class DaemonError extends ClusterError {
  readonly status: number;

  constructor(status: number, message: string) {
    super(kindOf(status, message), message);
    this.status = status;
  }
}

/** Nobody listens at the address, or the connection broke before an answer came. */
export class ConnectionError extends ClusterError {
  /** False when the address could not be reached at all: nothing was sent. */
  readonly sent: boolean;

  constructor(message: string, options: { readonly sent: boolean; readonly cause?: unknown }) {
    super('unavailable', message, { cause: options.cause, retryable: !options.sent });
    this.sent = options.sent;
  }
}

const kinds: Readonly<Record<number, ErrorKind>> = {
  400: 'invalid',
  401: 'unauthenticated',
  403: 'permission_denied',
  404: 'not_found',
  409: 'already_exists',
  412: 'failed_precondition',
  429: 'exhausted',
  501: 'unimplemented',
  503: 'unavailable',
  504: 'deadline',
};

function kindOf(status: number, message: string): ErrorKind {
  if (message.includes('update out of sequence')) return 'conflict';
  return kinds[status] ?? (status < 500 ? 'invalid' : 'internal');
}
