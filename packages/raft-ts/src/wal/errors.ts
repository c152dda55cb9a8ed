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
