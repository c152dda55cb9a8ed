import type { NodeId, Status } from '../core/types.ts';
import type { Runtime } from '../ports.ts';
import { ProposalDropped } from './errors.ts';

interface Leader {
  status(): Status;
  transferLeadership(): Promise<NodeId>;
}

interface HandOver {
  readonly id: NodeId;
  readonly runtime: Runtime;
  readonly tickMs: number;
  readonly electionTicks: number;
  isStopped(): boolean;
}

/** A leader that has only just won knows of nobody who could take over; it hears from them within a few ticks. */
export async function handOver(node: Leader, options: HandOver): Promise<void> {
  const { id, runtime, tickMs, electionTicks } = options;
  for (let attempt = 0; attempt < electionTicks; attempt++) {
    const { role, conf } = node.status();
    if (options.isStopped() || role !== 'leader' || conf.voters.every((voter) => voter === id)) return;
    const error = await node.transferLeadership().catch((reason: unknown) => reason);
    if (!(error instanceof ProposalDropped)) return;
    await new Promise<void>((resolve) => runtime.setTimer(tickMs, resolve));
  }
}
