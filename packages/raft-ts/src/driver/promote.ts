import type { ConfChange, ConfState, NodeId, Status } from '../core/types.ts';
import type { Runtime } from '../ports.ts';
import { ProposalDropped } from './errors.ts';

interface Promoter {
  status(): Status;
  waitCaughtUp(id: NodeId, options: { readonly maxLag?: number; readonly signal?: AbortSignal }): Promise<void>;
  changeMembers(change: ConfChange, options: { readonly signal?: AbortSignal }): Promise<ConfState>;
}

interface Promotion {
  readonly id: NodeId;
  readonly runtime: Runtime;
  readonly retryMs: number;
  readonly maxLag?: number;
  readonly signal?: AbortSignal;
}

const triesMax = 60;

/** Learner → voter. A change that is under way, or a transfer that comes to nothing, is waited for. */
export async function promoteWhenCaughtUp(node: Promoter, promotion: Promotion): Promise<ConfState> {
  const { id, runtime, retryMs, maxLag, signal } = promotion;
  const options = signal === undefined ? {} : { signal };
  for (let attempt = 1; ; attempt++) {
    await node.waitCaughtUp(id, maxLag === undefined ? options : { ...options, maxLag });
    const { conf } = node.status();
    if (conf.voters.includes(id) && conf.outgoing.length === 0) return conf;
    try {
      return await node.changeMembers({ transition: 'auto', ops: [{ op: 'voter', id }] }, options);
    } catch (error) {
      const waits =
        error instanceof ProposalDropped && ['conf-pending', 'conf-invalid', 'transferring'].includes(error.reason);
      if (!waits || attempt >= triesMax) throw error;
    }
    await new Promise<void>((resolve) => runtime.setTimer(retryMs, resolve));
    signal?.throwIfAborted();
  }
}
