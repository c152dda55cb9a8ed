/**
 * Brings nodes to the role that `node update --role` wishes. A promotion only changes the role: the node then renews its
 * certificate and joins Raft by itself. A demotion takes the node out of Raft first and is refused as long as that would
 * cost the quorum. Members of removed nodes are taken out of Raft, too. Leader only.
 */
import type { Cancel, Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { Loop } from '../../lib/loop.ts';
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
  readonly #loop: Loop;
  #unsubscribe = () => {};
  #retry: Cancel = () => {};

  constructor(options: RolesOptions) {
    this.#options = options;
    this.#loop = new Loop(
      options.clock,
      () => this.#reconcile(),
      (error) => this.#tryLater(error),
    );
  }

  start(): void {
    this.#unsubscribe = this.#options.store.subscribe(({ events }) => {
      if (events.some((event) => event.table === 'node')) this.#loop.trigger();
    });
    this.#loop.trigger();
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#retry();
    await this.#loop.stop();
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

  #tryLater(error: unknown): void {
    this.#options.log.warn('role change has to wait', { reason: messageOf(error) });
    this.#retry();
    this.#retry = this.#options.clock.timer(retryMs, () => this.#loop.trigger());
  }
}
