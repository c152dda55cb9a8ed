/** Explanations and forecasts as text. */
import type { Forecast, NodeVerdict, ServiceExplanation, TaskExplanation } from '../../model/explain.ts';
import { renderTable } from './table.ts';
import { capitalize, naturally, shortId } from './text.ts';
import { humanDuration } from './time.ts';

const taskIndent = '  ';
const nodeIndent = '      ';

export function serviceText(service: ServiceExplanation, now: number): string {
  const { Name, Mode, Running, Desired, Completed } = service;
  const completed = Mode.endsWith('job') ? `, ${Completed} completed` : '';
  const lines = [`${Name} (${Mode}): ${Running} of ${Desired} running${completed}`];
  for (const finding of service.Findings) lines.push(`${taskIndent}${capitalize(finding)}`);
  const tasks = [...service.Tasks].sort(
    (a, b) => Number(a.WaitsFor === '') - Number(b.WaitsFor === '') || naturally(a.Name, b.Name),
  );
  for (const task of tasks) lines.push('', ...taskLines(task, now).map((line) => `${taskIndent}${line}`));
  if (service.More > 0) lines.push('', `${taskIndent}and ${service.More} more that run`);
  const { Nodes: nodes = [], MoreNodes: more = 0 } = service;
  if (nodes.length > 0)
    lines.push('', `${taskIndent}Nodes without a task:`, ...verdictLines(nodes, taskIndent.repeat(2)));
  if (more > 0) lines.push(`${taskIndent.repeat(2)}and ${more} more`);
  return `${lines.join('\n')}\n`;
}

export function taskText(task: TaskExplanation, now: number): string {
  return `${taskLines(task, now).join('\n')}\n`;
}

function taskLines(task: TaskExplanation, now: number): string[] {
  const where = task.Hostname === '' ? '' : ` on ${task.Hostname}`;
  const since = task.Since > 0 ? ` for ${humanDuration(Math.max(0, now - task.Since)).toLowerCase()}` : '';
  const lines = [`${task.Name} (${shortId(task.ID)}): ${task.State}${where}${since}, desired ${task.DesiredState}`];
  if (task.WaitsFor !== '') lines.push(`  Waits for: ${task.WaitsFor}${until(task.Until, now)}`);
  if (task.Placement !== undefined) lines.push(`  Why there: ${task.Placement}`);
  if (task.Nodes !== undefined) lines.push(...verdictLines(task.Nodes, '  '));
  return lines;
}

function until(at: number | undefined, now: number): string {
  return at === undefined ? '' : `, in ${humanDuration(Math.max(0, at - now)).toLowerCase()}`;
}

function verdictLines(nodes: readonly NodeVerdict[], indent: string): string[] {
  if (nodes.length === 0) return [`${indent}There are no nodes.`];
  const rows = nodes.map((node) =>
    node.Filter === ''
      ? [node.Hostname, 'fits', node.Note ?? '']
      : [node.Hostname, node.Reason, node.Remedy === '' ? '' : `→ ${node.Remedy}`],
  );
  return renderTable(rows)
    .trimEnd()
    .split('\n')
    .map((line) => `${indent}${line.trimEnd()}`);
}

export function forecastText(forecast: Forecast): string {
  const { Kept, Replaced, Removed, Created, More } = forecast;
  const fresh = Created.length + More - Replaced;
  const parts = [`${fresh} new`, `${Replaced} replaced`, `${Kept} kept`, `${Removed} removed`];
  const lines = [`Dry run, nothing was changed. Tasks: ${parts.join(', ')}`];
  const rows = [...Created]
    .sort((a, b) => naturally(a.Name, b.Name))
    .map((place) => [place.Name, place.NodeID === '' ? `nowhere: ${place.Err}` : place.Hostname]);
  if (rows.length > 0)
    lines.push(
      ...renderTable([['TASK', 'NODE'], ...rows])
        .trimEnd()
        .split('\n'),
    );
  if (More > 0) lines.push(`and ${More} more`);
  const nodes = Created.find((place) => place.Nodes !== undefined)?.Nodes;
  if (nodes !== undefined) lines.push('', 'What each node says:', ...verdictLines(nodes, nodeIndent.slice(4)));
  return `${lines.join('\n')}\n`;
}
