/**
 * Brings nodes to the role that `node update --role` wishes. A promotion only changes the role: the node then renews its
 * certificate and joins Raft by itself. A demotion takes the node out of Raft first and is refused as long as that would
 * cost the quorum. Members of removed nodes are taken out of Raft, too. Leader only.
 */
import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import type { NodeRole } from '../../model/spec.ts';
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

  /** What must wait holds up nothing else, least of all a promotion that gives the quorum back: the first error is thrown at the end. */
  async #reconcile(): Promise<void> {
    const errors: unknown[] = [];
    const attempt = async (step: () => Promise<boolean>) => {
      try {
        return await step();
      } catch (error) {
        errors.push(error);
        return true;
      }
    };
    for (const step of this.#steps()) {
      if (this.#loop.isStopped || !(await attempt(step))) break;
    }
    if (errors.length > 0) throw errors[0];
  }

  /** Promotions, then demotions, then members that are none; this manager itself comes last. A step that says false ends the run. */
  #steps(): readonly (() => Promise<boolean>)[] {
    const { store, membership } = this.#options;
    const members = new Set(membership.members().map((member) => member.nodeId));
    const changing = [...store.view.list('node')].filter((node) => node.spec.Role !== node.role);
    const isSelf = (id: string) => Number(id === membership.selfNodeId);
    const demoted = changing.filter((node) => node.spec.Role === 'worker').map((node) => node.id);
    const strays = [...members].filter((id) => !demoted.includes(id) && !this.#belongs(id));
    const leaving = [...demoted, ...strays].sort((one, other) => isSelf(one) - isSelf(other));
    return [
      ...changing.filter((node) => node.spec.Role === 'manager').map((node) => () => this.#setRole(node.id, 'manager')),
      ...leaving.map((id) => () => (demoted.includes(id) ? this.#demote(id, members.has(id)) : this.#takeOut(id))),
    ];
  }

  /** A worker is a member when it was demoted while it joined. */
  #belongs(nodeId: string): boolean {
    const node = this.#options.store.view.get('node', nodeId);
    return node !== undefined && (node.role === 'manager' || node.spec.Role === 'manager');
  }

  async #demote(nodeId: string, isMember: boolean): Promise<boolean> {
    return isMember && !(await this.#takeOut(nodeId)) ? false : this.#setRole(nodeId, 'worker');
  }

  async #setRole(nodeId: string, role: NodeRole): Promise<boolean> {
    await this.#options.store.transact((tx) => {
      const current = tx.get('node', nodeId);
      if (current === undefined || current.spec.Role !== role) return;
      const { manager: _, ...rest } = current;
      tx.update('node', role === 'worker' ? { ...rest, role } : { ...current, role });
    });
    return true;
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
