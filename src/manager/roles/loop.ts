/**
 * Brings nodes to the role that `node update --role` wishes. A promotion only changes the role: the node then renews its
 * certificate and joins Raft by itself. A demotion takes the node out of Raft first and is refused as long as that would
 * cost the quorum. Members of removed nodes are taken out of Raft, too. Leader only.
 */
import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import { CommitLoop } from '../store/commit-loop.ts';
import type { LeaderLoop, Store } from '../store/port.ts';

/** What the loop needs of the Raft group. */
export interface Membership {
  readonly selfNodeId: string;
  members(): readonly { readonly nodeId: string }[];
  /** Errors: `failed_precondition` when the quorum would be lost. */
  remove(nodeId: string): Promise<void>;
  /** Gives leadership away; afterwards the new leader goes on with the work. */
  handOver(): Promise<void>;
}

export interface RolesOptions {
  readonly store: Store;
  readonly membership: Membership;
  readonly clock: Clock;
  readonly log: Log;
}

const retryMs = 2_000;

export function createRoles(options: RolesOptions): LeaderLoop {
  return new Roles(options);
}

class Roles implements LeaderLoop {
  readonly name = 'roles';
  readonly #options: RolesOptions;
  readonly #loop: CommitLoop;

  constructor(options: RolesOptions) {
    this.#options = options;
    this.#loop = new CommitLoop({
      ...options,
      doing: 'role change has to wait',
      retryMs,
      record: (events) => events.some((event) => event.table === 'node'),
      run: () => this.#reconcile(),
    });
  }

  start(): void {
    this.#loop.start();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #reconcile(): Promise<void> {
    const { store, membership } = this.#options;
    const members = new Set(membership.members().map((member) => member.nodeId));
    for (const node of [...store.view.list('node')]) {
      if (node.spec.Role === node.role) continue;
      if (node.spec.Role === 'worker' && members.has(node.id) && !(await this.#takeOut(node.id))) return;
      await store.transact((tx) => {
        const current = tx.get('node', node.id);
        if (current === undefined || current.spec.Role !== node.spec.Role) return;
        const { manager: _, ...rest } = current;
        tx.update('node', node.spec.Role === 'worker' ? { ...rest, role: 'worker' } : { ...current, role: 'manager' });
      });
    }
    for (const nodeId of members) {
      const node = store.view.get('node', nodeId);
      // A worker is a member when it was demoted while it joined.
      const isManager = node !== undefined && (node.role === 'manager' || node.spec.Role === 'manager');
      if (!isManager && !(await this.#takeOut(nodeId))) return;
    }
  }

  /** False when this manager would have to take itself out: it gives up leadership, and the next leader goes on. */
  async #takeOut(nodeId: string): Promise<boolean> {
    const { membership } = this.#options;
    if (nodeId === membership.selfNodeId) {
      await membership.handOver();
      return false;
    }
    await membership.remove(nodeId);
    return true;
  }
}
