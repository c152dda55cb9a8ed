import { DaemonError } from '../client/errors.ts';
import { messageOf } from '../lib/errors.ts';

/** What a user reads about an error: the daemon's own words are marked as such, as Docker does. */
export function describeError(error: unknown): string {
  if (error instanceof DaemonError) return `Error response from daemon: ${error.message}`;
  const message = messageOf(error);
  return /^(Cannot connect to|permission denied while)/.test(message) ? message : `Error: ${message}`;
}

/** The same inside a sentence, e.g. behind `failed to update config x: `. */
export function causeText(error: unknown): string {
  return error instanceof DaemonError ? `Error response from daemon: ${error.message}` : messageOf(error);
}
