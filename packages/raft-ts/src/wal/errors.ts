/**
 * Durable bytes are not what was written. The node must not start from them: it could have forgotten entries or votes
 * that others count on. Restore the disk, or remove the member and join again under a new id.
 */
export class LogCorrupt extends Error {
  override readonly name = 'LogCorrupt';
}

/** The checksums are right but the sealer does not open the bytes: most likely the key is another one. */
export class SealBroken extends Error {
  override readonly name = 'SealBroken';
}

/** The bytes received are not those that the sender's name for the snapshot stands for. Receive it again from the start. */
export class SnapshotMismatch extends Error {
  override readonly name = 'SnapshotMismatch';
}

const advice =
  'Nothing was changed. Repair the disk so that it gives back these very bytes, or remove this member from the cluster ' +
  'and let it join with an empty directory under a new id; it must not vote after forgetting what it acknowledged';

export function logCorrupt(what: string, cause?: unknown): LogCorrupt {
  return new LogCorrupt(`Cannot open log: ${what}. ${advice}`, cause === undefined ? {} : { cause });
}
