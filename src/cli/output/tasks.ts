/** The task tables of `service ps`, `node ps` and `stack ps`. */
import type { ApiService, ApiTask, Client } from '../../client/index.ts';
import type { PortConfig } from '../../model/spec.ts';
import type { Context } from '../context.ts';
import { hostText } from './services.ts';
import { type Column, printList } from './table.ts';
import { capitalize, imageWithoutDigest, naturally, shortId } from './text.ts';
import { ago } from './time.ts';

export interface TaskListOptions {
  readonly format?: string;
  readonly quiet?: true;
  readonly trunc: boolean;
  readonly resolve: boolean;
}

interface Row {
  readonly task: ApiTask;
  readonly name: string;
  readonly node: string;
  readonly history: boolean;
}

const errorWidth = 30;

export async function printTasks(
  ctx: Context,
  tasks: readonly ApiTask[],
  options: TaskListOptions & { readonly fullIds?: boolean },
): Promise<void> {
  const client = await ctx.client();
  const rows = await resolveRows(client, tasks, options);
  if (options.quiet === true) {
    for (const { task } of rows) {
      ctx.stdout.write(`${options.trunc && options.fullIds !== true ? shortId(task.ID) : task.ID}\n`);
    }
    return;
  }
  printList(ctx, columns(ctx, options), rows, { format: options.format });
}

async function resolveRows(client: Client, tasks: readonly ApiTask[], options: TaskListOptions): Promise<Row[]> {
  const names: Names = options.resolve
    ? await resolveNames(client, tasks)
    : { services: new Map(), nodes: new Map(), slottedJobs: new Set() };
  const named = tasks.map((task) => ({
    task,
    name: `${names.services.get(task.ServiceID) ?? task.ServiceID}.${taskSuffix(task, names.slottedJobs.has(task.ServiceID))}`,
    node: names.nodes.get(task.NodeID ?? '') ?? task.NodeID ?? '',
  }));
  named.sort((a, b) => naturally(a.name, b.name) || (a.task.CreatedAt < b.task.CreatedAt ? 1 : -1));
  return named.map((row, index) => ({ ...row, history: index > 0 && named[index - 1]?.name === row.name }));
}

/** Global tasks have no slot: they are told apart by their node; slot 0 of a job is absent on the wire. */
export function taskSuffix(task: ApiTask, ofJobSlots = false): string {
  if ((task.Slot ?? 0) !== 0) return String(task.Slot);
  const isSlot = ofJobSlots || (task.JobIteration !== undefined && task.NodeID === undefined);
  return isSlot ? '0' : (task.NodeID ?? '0');
}

export interface Names {
  readonly services: Map<string, string>;
  readonly nodes: Map<string, string>;
  /** Services whose tasks have slots that count from 0. */
  readonly slottedJobs: Set<string>;
}

async function resolveNames(client: Client, tasks: readonly ApiTask[]): Promise<Names> {
  const names: Names = { services: new Map(), nodes: new Map(), slottedJobs: new Set() };
  const serviceIds = new Set(tasks.map((task) => task.ServiceID));
  const nodeIds = new Set(tasks.map((task) => task.NodeID ?? '').filter((id) => id !== ''));
  const nameOfService = ({ ID, Spec }: ApiService) => {
    if (Spec.Mode.ReplicatedJob !== undefined) names.slottedJobs.add(ID);
    return Spec.Name;
  };
  await Promise.all([
    ...[...serviceIds].map((id) => learn(names.services, id, async () => nameOfService(await client.service(id)))),
    ...[...nodeIds].map((id) => learn(names.nodes, id, async () => nodeName(await client.node(id)))),
  ]);
  return names;
}

export function nodeName(node: { Spec: { Name?: string }; Description: { Hostname?: string }; ID: string }): string {
  return node.Spec.Name || node.Description.Hostname || node.ID;
}

/** A name that cannot be found leaves the id in its place: the object may be gone while its history is not. */
async function learn(names: Map<string, string>, id: string, fetch: () => Promise<string>): Promise<void> {
  try {
    names.set(id, await fetch());
  } catch {
    names.set(id, id);
  }
}

function columns(ctx: Context, options: TaskListOptions): Column<Row>[] {
  const column = (field: string, header: string, value: (row: Row) => unknown): Column<Row> => ({
    field,
    header,
    shown: true,
    value,
  });
  return [
    column('ID', 'ID', ({ task }) => (options.trunc ? shortId(task.ID) : task.ID)),
    column('Name', 'NAME', ({ name, history, task }) => taskLabel(name, history, task, options)),
    column('Image', 'IMAGE', ({ task }) => imageText(task, options)),
    column('Node', 'NODE', ({ node }) => node),
    column('DesiredState', 'DESIRED STATE', ({ task }) => capitalize(task.DesiredState)),
    column('CurrentState', 'CURRENT STATE', ({ task }) =>
      `${capitalize(task.Status.State)} ${ago(task.Status.Timestamp, ctx.clock.now())}`.trim(),
    ),
    column('Error', 'ERROR', ({ task }) => errorText(task, options)),
    column('Ports', 'PORTS', ({ task }) => (task.Status.PortStatus?.Ports ?? []).map(portText).join(',')),
  ];
}

function taskLabel(name: string, history: boolean, task: ApiTask, options: TaskListOptions): string {
  const shown = options.trunc ? name : `${name}.${task.ID}`;
  return history && options.format === undefined ? ` \\_ ${shown}` : shown;
}

function imageText(task: ApiTask, options: TaskListOptions): string {
  const image = task.Spec.ContainerSpec?.Image ?? '';
  return options.trunc ? imageWithoutDigest(image) : image;
}

function errorText(task: ApiTask, options: TaskListOptions): string {
  const error = task.Status.Err ?? '';
  if (error === '') return '';
  const quoted = [...error];
  const cut = options.trunc && quoted.length > errorWidth ? `${quoted.slice(0, errorWidth - 1).join('')}…` : error;
  return `"${cut}"`;
}

export function portText(port: PortConfig): string {
  return `${hostText(port.HostIP)}:${port.PublishedPort ?? 0}->${port.TargetPort}/${port.Protocol ?? 'tcp'}`;
}
