/** On request: what each node says to a task. Reads everything once, so it is for people, not for loops. */
import type { Task } from '../../model/objects.ts';
import type { ClusterView } from '../../model/view.ts';
import { ClusterIndex, reason, refusalsPerNode } from '../../scheduler/index.ts';

export interface NodeVerdict {
  readonly nodeId: string;
  readonly hostname: string;
  /** Empty: the task would fit. */
  readonly reason: string;
}

export function explainPlacement(view: ClusterView, task: Task): readonly NodeVerdict[] {
  const index = new ClusterIndex();
  for (const node of view.list('node')) index.putNode(node);
  for (const other of view.list('task')) if (other.id !== task.id) index.changeTask(undefined, other);
  return [...refusalsPerNode(index.infos(), task)].map(([nodeId, name]) => ({
    nodeId,
    hostname: view.get('node', nodeId)?.description?.hostname ?? '',
    reason: name === undefined ? '' : reason(name, 1),
  }));
}
