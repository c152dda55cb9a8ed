import { sameEndpoint, sameTaskSpec } from '../model/equal.ts';
import type { Task } from '../model/objects.ts';
import type { ServiceSpec } from '../model/spec.ts';
import type { ClusterView } from '../model/view.ts';
import { constraintsMatch } from './constraint.ts';
import { isCrowdedOut } from './crowded.ts';

/** True where the task need not be replaced for `spec`: a changed placement alone makes stale only what stands where it may not. */
export function isUpToDate(task: Task, spec: ServiceSpec, view: Pick<ClusterView, 'get' | 'tasksOfNode'>): boolean {
  if (!sameEndpoint(task.endpoint, spec.EndpointSpec)) return false;
  const wanted = spec.TaskTemplate;
  if (sameTaskSpec(task.spec, wanted)) return true;
  const node = view.get('node', task.nodeId);
  if (node === undefined || !sameTaskSpec({ ...task.spec, Placement: wanted.Placement ?? {} }, wanted)) return false;
  const max = wanted.Placement?.MaxReplicas ?? 0;
  if (max !== (task.spec.Placement?.MaxReplicas ?? 0) && isCrowdedOut(task, max, view.tasksOfNode(node.id)))
    return false;
  return constraintsMatch(wanted.Placement?.Constraints, node);
}
