/** Decisions as data, and how they are written: none is made again while writing, so a retry never gives anything else. */
import { sameSpec } from '../../model/equal.ts';
import { networksOf } from '../../model/network.ts';
import type { NetworkAddresses, NetworkAllocation, NodeNetwork, ServiceEndpoint, Task } from '../../model/objects.ts';
import { TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import type { Transaction } from '../store/port.ts';
import { restAddresses } from '../store/resting.ts';
import { fits, isServed, needsEndpoint } from './endpoint.ts';

/** One object gets what it needs, or is told (`err`) why it does not. */
export type Decision =
  | { readonly table: 'network'; readonly id: string; readonly allocation: NetworkAllocation }
  | { readonly table: 'network'; readonly id: string; readonly err: string }
  | { readonly table: 'node'; readonly id: string; readonly network: NodeNetwork }
  | { readonly table: 'node'; readonly id: string; readonly err: string }
  /** Without an endpoint: it needs none any more. */
  | { readonly table: 'service'; readonly id: string; readonly endpoint: ServiceEndpoint | undefined }
  | { readonly table: 'service'; readonly id: string; readonly err: string }
  | { readonly table: 'task'; readonly id: string; readonly attachments: readonly NetworkAddresses[] }
  | { readonly table: 'task'; readonly id: string; readonly err: string };

export const waitingMessage = 'waiting for network addresses';
const pendingMessage = 'pending task scheduling';

export function keyOf({ table, id }: Pick<Decision, 'table' | 'id'>): string {
  return `${table}/${id}`;
}

/** Waits for the allocator. */
export function isWaiting(task: Task): boolean {
  return task.status.state === TaskState.new && task.desired <= TaskState.complete;
}

/** True when there is nothing left to decide about the object: it has what it needs, or is gone. */
export function isSettled(view: ClusterView, { table, id }: Pick<Decision, 'table' | 'id'>): boolean {
  switch (table) {
    case 'network':
      return view.get('network', id)?.allocation !== undefined || view.get('network', id) === undefined;
    case 'node':
      return view.get('node', id)?.network !== undefined || view.get('node', id) === undefined;
    case 'service': {
      const service = view.get('service', id);
      return service === undefined || isServed(service, (network) => view.get('network', network));
    }
    case 'task': {
      const task = view.get('task', id);
      return task === undefined || !isWaiting(task);
    }
  }
}

/** False, and nothing is written, where the object changed so that the decision is none any more: it is decided on again. */
export function write(tx: Transaction, decision: Decision): boolean {
  if (isSettled(tx, decision)) return false;
  switch (decision.table) {
    case 'network':
      return writeNetwork(tx, decision);
    case 'node':
      return writeNode(tx, decision);
    case 'service':
      return writeService(tx, decision);
    case 'task':
      return writeTask(tx, decision);
  }
}

type Of<T extends Decision['table']> = Extract<Decision, { readonly table: T }>;

function writeNetwork(tx: Transaction, decision: Of<'network'>): boolean {
  const network = tx.get('network', decision.id);
  if (network === undefined || wasTold(tx, decision)) return false;
  const { meta: _, allocationError: __, ...draft } = network;
  const given = 'allocation' in decision ? { allocation: decision.allocation } : { allocationError: decision.err };
  tx.update('network', { ...draft, ...given });
  return true;
}

function writeNode(tx: Transaction, decision: Of<'node'>): boolean {
  const node = tx.get('node', decision.id);
  if (node === undefined || wasTold(tx, decision)) return false;
  const { meta: _, ...draft } = node;
  const given =
    'network' in decision ? { network: decision.network } : { networkProblems: [{ message: decision.err }] };
  tx.update('node', { ...draft, ...given });
  return true;
}

function writeService(tx: Transaction, decision: Of<'service'>): boolean {
  const service = tx.get('service', decision.id);
  if (service === undefined || wasTold(tx, decision)) return false;
  const { meta: _, endpoint: old, endpointError: __, ...draft } = service;
  if ('err' in decision) {
    tx.update('service', { ...draft, ...(old === undefined ? {} : { endpoint: old }), endpointError: decision.err });
    return true;
  }
  const { endpoint } = decision;
  const network = (id: string) => tx.get('network', id);
  const isRight = endpoint === undefined ? !needsEndpoint(service, network) : fits(service, endpoint, network);
  if (!isRight) return false;
  restAddresses(tx, freedBy(old, endpoint));
  // Its own version: what was decided for an earlier spec may be right for this one.
  const own = endpoint === undefined ? {} : { endpoint: { ...endpoint, specVersion: service.specVersion } };
  tx.update('service', { ...draft, ...own });
  return true;
}

/** Virtual addresses that the service had and has no more. */
function freedBy(old: ServiceEndpoint | undefined, next: ServiceEndpoint | undefined): readonly NetworkAddresses[] {
  return (old?.vips ?? []).filter((vip) => !next?.vips.some((kept) => sameSpec(kept, vip)));
}

function writeTask(tx: Transaction, decision: Of<'task'>): boolean {
  const task = tx.get('task', decision.id);
  if (task === undefined || wasTold(tx, decision)) return false;
  const { meta: _, ...draft } = task;
  if ('err' in decision) {
    tx.update('task', { ...draft, status: { ...task.status, message: waitingMessage, err: decision.err } });
    return true;
  }
  const { attachments } = decision;
  const given = attachments.map(({ networkId }) => networkId);
  if (!sameSpec(networksOf(task.spec), given)) return false;
  const status = { ...task.status, state: TaskState.pending, timestamp: tx.now, message: pendingMessage, err: '' };
  tx.update('task', { ...draft, ...(attachments.length === 0 ? {} : { attachments }), status });
  return true;
}

export function isToldWhy(task: Task, err: string): boolean {
  return task.status.err === err && task.status.message === waitingMessage;
}

/** True when the object says already why it lacks what it lacks. */
export function wasTold(view: ClusterView, decision: Decision): boolean {
  if (!('err' in decision)) return false;
  const { table, id, err } = decision;
  switch (table) {
    case 'network':
      return view.get('network', id)?.allocationError === err;
    case 'node':
      return sameSpec(view.get('node', id)?.networkProblems, [{ message: err }]);
    case 'service':
      return view.get('service', id)?.endpointError === err;
    case 'task': {
      const task = view.get('task', id);
      return task !== undefined && isToldWhy(task, err);
    }
  }
}
