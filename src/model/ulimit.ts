import { ClusterError } from '../lib/errors.ts';

/** The kernel's resource limits, by Docker's names for them. */
const names = new Set(
  'core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack'.split(' '),
);

/** Errors: `invalid`. */
export function checkUlimitName(name: string): void {
  if (names.has(name)) return;
  throw new ClusterError('invalid', `invalid ulimit type: ${name} (known: ${[...names].join(', ')})`);
}
