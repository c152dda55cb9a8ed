/** Why a placed task is where it is, judged by the state as it is now: the state then is not kept. */
import type { Task } from '../model/objects.ts';
import type { ClusterIndex } from './cluster-index.ts';
import { spreadValue } from './constraint.ts';
import { filtersFor, firstRefusal } from './filters.ts';
import type { NodeInfo } from './node-info.ts';
import { failuresFaulty, groupKey } from './node-info.ts';

export function whyThere(task: Task, index: ClusterIndex, now: number): string {
  const own = index.get(task.nodeId);
  if (own === undefined) return 'its node was removed';
  if (task.pinned === true) return 'it was made for this node: the service has one task on each node that fits';
  return own.without(task.id, () => compare(task, own, index, now));
}

function compare(task: Task, own: NodeInfo, index: ClusterIndex, now: number): string {
  const filters = filtersFor(task);
  const fit = [...index.infos()].filter((info) => info !== own && firstRefusal(filters, info) === undefined);
  const refusal = firstRefusal(filters, own);
  const total = index.size;
  const still = refusal === undefined ? '' : `; it would not be placed here now (${refusal})`;
  if (fit.length === 0) return `no other node of ${total} fits${still}`;
  return `${fit.length + 1} of ${total} nodes fit; ${advantage(task, own, fit, now)}${spread(task, own)}${still}`;
}

function advantage(task: Task, own: NodeInfo, others: readonly NodeInfo[], now: number): string {
  const failures = (info: NodeInfo) => info.failures(groupKey(task), now);
  const faulty = others.filter((info) => failures(info) >= failuresFaulty).length;
  const note = faulty === 0 ? '' : `; ${faulty} are avoided because the service failed there lately`;
  const mine = own.tasksOf(task.serviceId);
  const least = Math.min(...others.map((info) => info.tasksOf(task.serviceId)));
  if (mine < least) return `this one has the fewest other tasks of the service (${mine}, the next has ${least})${note}`;
  if (mine > least)
    return `others now have fewer tasks of the service (${least}, this one ${mine} besides this)${note}`;
  const equals = others.filter((info) => info.tasksOf(task.serviceId) === least);
  const tenths = Math.min(...equals.map((info) => info.reservedTenths));
  if (own.reservedTenths < tenths)
    return `among equals in tasks of the service this one has the most left unreserved${note}`;
  const tasks = Math.min(...equals.map((info) => info.total));
  if (own.total < tasks)
    return `among equals in tasks of the service this one has the fewest tasks at all (${own.total})${note}`;
  return `this one is as good as the best of them${note}`;
}

function spread(task: Task, own: NodeInfo): string {
  const levels = (task.spec.Placement?.Preferences ?? []).flatMap(({ Spread }) =>
    Spread === undefined ? [] : [Spread.SpreadDescriptor],
  );
  if (levels.length === 0) return '';
  const values = levels.map((level) => `${level} = ${spreadValue(level, own.node) || 'not set'}`);
  return `; spread over ${values.join(', ')}`;
}
