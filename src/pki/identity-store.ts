/**
 * This node's identity on disk: root certificate, node certificate and key, and what it needs to find its cluster again.
 * One file, written to the side and renamed, mode 0600, so that no crash leaves a key without its certificate.
 */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ClusterError } from '../lib/errors.ts';

export interface StoredIdentity {
  readonly format: 1;
  readonly caPem: string;
  readonly certPem: string;
  readonly keyPem: string;
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  /** While this node is a manager: its Raft id, and the members that it was told of when it joined. */
  readonly raft?: {
    readonly id: number;
    readonly members: readonly { readonly raftId: number; readonly nodeId: string; readonly addr: string }[];
  };
  readonly managers: readonly { readonly nodeId: string; readonly addr: string }[];
  /** A manager said that this node was removed from the cluster. */
  readonly removed?: true;
}

export class IdentityStore {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Undefined when this node belongs to no cluster. Errors: `failed_precondition` for a file that cannot be understood. */
  async load(): Promise<StoredIdentity | undefined> {
    let text: string;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    const parsed = parse(text);
    if (parsed?.format !== 1) {
      throw new ClusterError(
        'failed_precondition',
        `${this.#path} is damaged or from a newer version: restore it, or remove the data directory and join again`,
      );
    }
    return parsed;
  }

  async save(identity: StoredIdentity): Promise<void> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    const aside = `${this.#path}.new`;
    const file = await open(aside, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(identity, undefined, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, this.#path);
    const directory = await open(dirname(this.#path), 'r');
    await directory.sync().finally(() => directory.close());
  }

  async remove(): Promise<void> {
    await rm(this.#path, { force: true });
  }
}

function parse(text: string): StoredIdentity | undefined {
  try {
    return JSON.parse(text) as StoredIdentity;
  } catch {
    return undefined;
  }
}
