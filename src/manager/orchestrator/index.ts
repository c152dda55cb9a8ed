/**
 * The leader loops that turn specs into tasks: they create tasks, say what is desired of them, and delete them.
 * Each is a pure decision (`decideService`, `decideSlot`, `rollout`, `decideReap`, `judge`) and a loop that applies it. They meet each
 * other, placement and dispatcher only in the store. They never move a task's observed state, but for tasks that no agent has
 * or will report on.
 */
import type { LeaderLoop } from '../store/port.ts';
import { NodesLoop } from './nodes.ts';
import type { OrchestratorOptions } from './port.ts';
import { ReaperLoop } from './reaper.ts';
import { ReconcileLoop } from './reconcile/loop.ts';
import { UpdateLoop } from './update/loop.ts';

export type { OrchestratorOptions } from './port.ts';

export function createOrchestrators(options: OrchestratorOptions): LeaderLoop[] {
  return [new ReconcileLoop(options), new UpdateLoop(options), new NodesLoop(options), new ReaperLoop(options)];
}
