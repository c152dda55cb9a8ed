/**
 * Why a service and its tasks are as they are: read from the state alone, so every manager can answer and nothing is remembered
 * for it. Reads everything once: it is for people, not for loops. Pure.
 */
import { effectiveRestartPolicy, jobSizeOf, replicasOf } from '../model/defaults.ts';
import type { NodeVerdict, ServiceExplanation, TaskExplanation } from '../model/explain.ts';
import { needsAllocation, networksOf } from '../model/network.ts';
import type { Node, Service, Task } from '../model/objects.ts';
import { failoverDelayMs } from '../model/service-labels.ts';
import { isTerminal, stateName, TaskState } from '../model/task-state.ts';
import type { ClusterView } from '../model/view.ts';
import { ClusterIndex } from './cluster-index.ts';
import { constraintsMatch } from './constraint.ts';
import { groupKey, isReady } from './node-info.ts';
import type { VerdictContext } from './verdict.ts';
import { hostname, verdictOf, verdicts } from './verdict.ts';
import { whyThere } from './why-there.ts';

/** Tasks in one answer; running ones are left out first. */
const tasksMax = 200;
/** Specs of a service for whose unplaced tasks it is told what each node says; of equal tasks only the first tells it. */
const verdictsMax = 10;
/** Nodes of which it is told why a global service has no task there. */
const nodesMax = 200;

export function explainService(view: ClusterView, service: Service, now: number): ServiceExplanation {
  const index = ClusterIndex.of(view.list('node'), view.list('task'), now);
  const faces = facesOf(view, service);
  const troubled = faces.filter((task) => !isFine(view, task));
  const fine = faces.filter((task) => isFine(view, task));
  const shown = [...troubled, ...fine].slice(0, tasksMax);
  const told = new Set<string>();
  const tasks = shown.map((task) => {
    const isFirst = waitsForNode(task) && !told.has(groupKey(task)) && told.size < verdictsMax;
    if (isFirst) told.add(groupKey(task));
    return explain(task, { view, index, now, withNodes: isFirst || task.pinned === true });
  });
  const { running, completed } = count(view, service);
  const desired = desiredOf(view, service, faces);
  return {
    ID: service.id,
    Name: service.spec.Name,
    Mode: modeOf(service),
    Running: running,
    Desired: desired,
    Completed: completed,
    Findings: findings(view, service, { faces, troubled, desired }),
    Tasks: tasks,
    More: faces.length - shown.length,
    ...(isGlobal(service) ? emptyNodes(service, faces, { view, index, now }) : {}),
  };
}

/** Nodes without a task of a global service; those that are not meant to have one come last. */
function emptyNodes(
  service: Service,
  faces: readonly Task[],
  context: VerdictContext,
): Pick<ServiceExplanation, 'Nodes' | 'MoreNodes'> {
  const taken = new Set(faces.filter(isWanted).map((task) => task.nodeId));
  const isMeant = ({ Filter }: NodeVerdict) => Number(Filter !== 'constraint');
  const empty = verdicts(asTask(service, context.now), context)
    .filter(({ NodeID }) => !taken.has(NodeID))
    .sort((one, other) => isMeant(other) - isMeant(one));
  if (empty.length === 0) return {};
  const more = empty.length - nodesMax;
  return { Nodes: empty.slice(0, nodesMax), ...(more > 0 ? { MoreNodes: more } : {}) };
}

/** What a new task of the service would ask of a node. */
function asTask({ id, spec, specVersion }: Service, now: number): Task {
  return {
    id: '',
    meta: { version: 0, createdAt: now, updatedAt: now },
    serviceId: id,
    slot: 0,
    nodeId: '',
    spec: spec.TaskTemplate,
    specVersion,
    serviceName: spec.Name,
    serviceLabels: spec.Labels,
    endpoint: spec.EndpointSpec ?? {},
    desired: TaskState.running,
    status: { state: TaskState.pending, timestamp: now, message: '', err: '' },
    restarts: [],
  };
}

function isGlobal({ spec: { Mode } }: Service): boolean {
  return Mode.Global !== undefined || Mode.GlobalJob !== undefined;
}

export function explainTask(view: ClusterView, task: Task, now: number): TaskExplanation {
  const index = ClusterIndex.of(view.list('node'), view.list('task'), now);
  return explain(task, { view, index, now, withNodes: true });
}

interface Context {
  readonly view: ClusterView;
  readonly index: ClusterIndex;
  readonly now: number;
  readonly withNodes: boolean;
}

function explain(task: Task, context: Context): TaskExplanation {
  const { view, index } = context;
  const node = view.get('node', task.nodeId);
  const { text, until } = waitsFor(task, node, context);
  const isPlaced = task.nodeId !== '' && task.status.state >= TaskState.assigned && !isTerminal(task.status.state);
  return {
    ID: task.id,
    Name: nameOf(task, node),
    State: stateName(task.status.state),
    DesiredState: stateName(task.desired),
    Since: task.status.timestamp,
    NodeID: task.nodeId,
    Hostname: node === undefined ? '' : hostname(node),
    WaitsFor: text,
    ...(until === undefined ? {} : { Until: until }),
    ...(isPlaced ? { Placement: whyThere(task, index, context.now) } : {}),
    ...(context.withNodes && waitsForNode(task) ? { Nodes: nodesFor(task, context) } : {}),
  };
}

function nodesFor(task: Task, context: Context) {
  if (task.pinned !== true) return verdicts(task, context);
  return [verdictOf(task.nodeId, task, context)].filter((one) => one !== undefined);
}

export function nameOf(task: Pick<Task, 'serviceName' | 'slot' | 'pinned'>, node: Node | undefined): string {
  return `${task.serviceName}.${task.pinned === true && node !== undefined ? hostname(node) : task.slot}`;
}

interface Wait {
  readonly text: string;
  readonly until?: number;
}

function waitsFor(task: Task, node: Node | undefined, { view, now }: Context): Wait {
  const { state, err } = task.status;
  if (isTerminal(state)) return { text: ended(task) };
  if (task.desired >= TaskState.shutdown) return { text: 'its container to stop' };
  if (state === TaskState.new) return { text: `its addresses: ${err || 'they are about to be given'}` };
  if (state < TaskState.assigned) return { text: `a node: ${err || 'it is about to be placed'}` };
  if (node === undefined) return { text: 'nothing: its node was removed' };
  const host = hostname(node);
  if (node.status.state === 'down') return lost(task, node, view, now);
  if (node.status.state !== 'ready' && state < TaskState.running)
    return { text: `node ${host}, which is ${node.status.state}` };
  if (state < TaskState.ready) return { text: preparing(task, host) };
  if (task.desired === TaskState.ready) return held(task, view, now);
  if (state === TaskState.ready) return { text: `the agent on ${host} to start it` };
  if (state === TaskState.starting) return { text: err || 'its container to start, or to be found healthy' };
  return { text: '' };
}

/** Its node is down: it may run there or not. */
function lost(task: Task, node: Node, view: ClusterView, now: number): Wait {
  const replacedAt = node.status.since + failoverDelayMs(view.get('service', task.serviceId)?.spec.Labels);
  if (task.pinned !== true && replacedAt > now) {
    return { text: `node ${hostname(node)} to come back, or else to be replaced`, until: replacedAt };
  }
  return { text: `node ${hostname(node)} to come back: whether it still runs there is unknown` };
}

function preparing(task: Task, host: string): string {
  if (task.status.state === TaskState.assigned) return `the agent on ${host} to accept it`;
  return `the agent on ${host} to prepare its image and container${task.status.err === '' ? '' : `: ${task.status.err}`}`;
}

/** Prepared, and not to be started yet. */
function held(task: Task, view: ClusterView, now: number): Wait {
  if (task.notBefore !== undefined && task.notBefore > now) {
    const failures = task.failures ?? 0;
    const loop = failures > 1 ? ` (${failures} failures in a row)` : '';
    return { text: `the end of its restart delay${loop}`, until: task.notBefore };
  }
  const old = task.replaces === undefined ? undefined : view.get('task', task.replaces);
  if (old === undefined || isTerminal(old.status.state)) return { text: 'its turn to be started' };
  return { text: `task ${old.id}, which it replaces, to stop` };
}

function ended(task: Task): string {
  const { state, err, message } = task.status;
  if (state === TaskState.complete) return 'nothing: it completed';
  const why = err || message;
  const given = state !== TaskState.shutdown && task.desired <= TaskState.complete ? ', to be replaced' : '';
  return `nothing: it was ${stateName(state)}${given}${why === '' ? '' : `: ${why}`}`.replace('was failed', 'failed');
}

/** One task for each place: the newest wanted one, else the newest. */
function facesOf(view: ClusterView, service: Service): readonly Task[] {
  const faces = new Map<number | string, Task>();
  for (const task of view.tasksOfService(service.id)) {
    if (task.desired === TaskState.remove || task.jobIteration !== service.jobStatus?.iteration) continue;
    const place = task.pinned === true ? task.nodeId : task.slot;
    const other = faces.get(place);
    if (other === undefined || isWanted(task) || !isWanted(other)) faces.set(place, task);
  }
  return [...faces.values()];
}

function isWanted(task: Task): boolean {
  return task.desired <= TaskState.complete;
}

function isFine(view: ClusterView, task: Task): boolean {
  if (task.status.state === TaskState.complete) return task.jobIteration !== undefined;
  const up = view.get('node', task.nodeId)?.status.state !== 'down';
  return up && isWanted(task) && task.status.state === TaskState.running;
}

function waitsForNode(task: Task): boolean {
  const { state } = task.status;
  return state >= TaskState.pending && state < TaskState.assigned && isWanted(task);
}

function count(view: ClusterView, service: Service): { readonly running: number; readonly completed: number } {
  let running = 0;
  let completed = 0;
  for (const task of view.tasksOfService(service.id)) {
    if (task.jobIteration !== service.jobStatus?.iteration) continue;
    if (task.status.state === TaskState.complete) completed += 1;
    else if (isFine(view, task)) running += 1;
  }
  return { running, completed };
}

function desiredOf(view: ClusterView, service: Service, faces: readonly Task[]): number {
  const { Mode } = service.spec;
  if (Mode.ReplicatedJob !== undefined) return jobSizeOf(service.spec).maxConcurrent;
  if (!isGlobal(service)) return replicasOf(service.spec);
  return faces.filter((task) => isWanted(task) && view.get('node', task.nodeId)?.status.state !== 'down').length;
}

function modeOf({ spec: { Mode } }: Service): string {
  if (Mode.Global !== undefined) return 'global';
  if (Mode.ReplicatedJob !== undefined) return 'replicated job';
  return Mode.GlobalJob === undefined ? 'replicated' : 'global job';
}

interface Facts {
  readonly faces: readonly Task[];
  readonly troubled: readonly Task[];
  readonly desired: number;
}

function findings(view: ClusterView, service: Service, { faces, troubled, desired }: Facts): readonly string[] {
  const found: string[] = [];
  const { updateStatus } = service;
  if (updateStatus !== undefined && !updateStatus.state.endsWith('completed')) {
    found.push(`update ${updateStatus.state}: ${updateStatus.message}`);
  }
  const givenUp = troubled.filter(
    (task) => isTerminal(task.status.state) && !isWanted(task) && !isSentAway(task, service, view),
  );
  if (givenUp.length > 0) found.push(givenUpText(service, givenUp));
  const looping = troubled.filter((task) => (task.failures ?? 0) > 1 && isWanted(task));
  if (looping.length > 0) {
    const wait = looping.length === 1 ? 'waits' : 'wait';
    found.push(`${plural(looping.length, 'task')} failed several times in a row and ${wait} longer each time`);
  }
  const lost = faces.filter((task) => isWanted(task) && view.get('node', task.nodeId)?.status.state === 'down');
  if (lost.length > 0) found.push(`${plural(lost.length, 'task')} on nodes that are down`);
  if (service.endpointError !== undefined)
    found.push(`not everything is given that it asks for: ${service.endpointError}`);
  if (faces.length === 0 && desired > 0) found.push('no task has been made yet: is there a leader?');
  if (faces.length === 0 && isGlobal(service)) {
    found.push('no node is ready, active and within the constraints');
  }
  return [...found, ...networkFindings(view, service)];
}

/** A task of a global service that its node takes no more. */
function isSentAway(task: Task, { spec }: Service, view: ClusterView): boolean {
  if (task.pinned !== true) return false;
  const node = view.get('node', task.nodeId);
  return node === undefined || !isReady(node) || !constraintsMatch(spec.TaskTemplate.Placement?.Constraints, node);
}

const networkFindingsMax = 20;

/** Networks that could not be given addresses, and what nodes could not do of what concerns the service. */
function networkFindings(view: ClusterView, service: Service): readonly string[] {
  const ids = networksOf(service.spec.TaskTemplate);
  const found = ids.flatMap((id) => {
    const network = view.get('network', id);
    return network?.allocationError === undefined ? [] : [`network ${network.spec.Name}: ${network.allocationError}`];
  });
  const isExposed = needsAllocation(service.spec.TaskTemplate, service.spec.EndpointSpec);
  for (const node of view.list('node')) {
    for (const { serviceId, networkId, message } of node.networkProblems ?? []) {
      const ofNode = serviceId === undefined && networkId === undefined && isExposed;
      const ofNetwork = serviceId === undefined && networkId !== undefined && ids.includes(networkId);
      if (serviceId === service.id || ofNetwork || ofNode) found.push(`node ${hostname(node)}: ${message}`);
    }
  }
  const [shown, more] = [found.slice(0, networkFindingsMax), found.length - networkFindingsMax];
  return more > 0 ? [...shown, `and ${more} more of this kind`] : shown;
}

function givenUpText(service: Service, tasks: readonly Task[]): string {
  const { condition, maxAttempts } = effectiveRestartPolicy(service.spec.TaskTemplate.RestartPolicy);
  const why = maxAttempts > 0 ? `${condition}, at most ${maxAttempts} attempts` : condition;
  return `${plural(tasks.length, 'place')} not restarted, as the restart policy says (${why})`;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
