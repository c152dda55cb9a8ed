import { sameEndpoint, sameTaskSpec } from '../model/equal.ts';
import type { Node, Task } from '../model/objects.ts';
import type { ServiceSpec } from '../model/spec.ts';
import { constraintsMatch } from './constraint.ts';

/** True where the task need not be replaced for `spec`: a changed placement alone makes stale only what stands where it may not. */
export function isUpToDate(task: Task, spec: ServiceSpec, node: Node | undefined): boolean {
  if (!sameEndpoint(task.endpoint, spec.EndpointSpec)) return false;
  const wanted = spec.TaskTemplate;
  if (sameTaskSpec(task.spec, wanted)) return true;
  if (node === undefined || !sameTaskSpec({ ...task.spec, Placement: wanted.Placement ?? {} }, wanted)) return false;
  if ((wanted.Placement?.MaxReplicas ?? 0) !== (task.spec.Placement?.MaxReplicas ?? 0)) return false;
  return constraintsMatch(wanted.Placement?.Constraints, node);
}
