import type { Command } from 'commander';
import type { Client, LogFrame } from '../../client/index.ts';
import { ClusterError, isKind } from '../../lib/errors.ts';
import { parseDuration } from '../../stack/values.ts';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';
import { nodeName, taskSuffix } from '../output/tasks.ts';
import { shortId } from '../output/text.ts';

interface Options {
  readonly details?: boolean;
  readonly follow?: boolean;
  readonly raw?: boolean;
  readonly resolve: boolean;
  readonly since?: string;
  readonly tail?: string;
  /** False after `--no-task-ids`. */
  readonly taskIds: boolean;
  readonly timestamps?: boolean;
  readonly trunc: boolean;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] SERVICE|TASK')
    .argument('<name>')
    .option('--details', 'Show extra details provided to logs')
    .option('-f, --follow', 'Follow log output')
    .option('--no-resolve', 'Do not map IDs to names in output')
    .option('--no-task-ids', 'Do not include task IDs in output')
    .option('--no-trunc', 'Do not truncate output')
    .option('--raw', 'Do not neatly format logs')
    .option('--since <time>', 'Show logs since timestamp (2013-01-02T13:23:37Z) or relative (42m for 42 minutes)')
    .option('-n, --tail <lines>', 'Number of lines to show from the end of the logs, or "all"')
    .option('-t, --timestamps', 'Show timestamps')
    .action((name: string, options: Options) => showLogs(ctx, name, options));
}

async function showLogs(ctx: Context, name: string, options: Options): Promise<void> {
  const { tail = 'all' } = options;
  if (tail !== 'all' && !/^\d{1,15}$/.test(tail))
    throw new CliError(`Error: invalid value "${tail}" for --tail: must be a number of lines or "all"`);
  const client = await ctx.client();
  const target = await findTarget(client, name);
  if (target.tty && options.raw !== true) throw new CliError('Error: tty service logs only supported with --raw');
  const abort = new AbortController();
  const cancelInterrupt = ctx.onInterrupt(() => abort.abort());
  const query = {
    follow: options.follow === true,
    timestamps: options.timestamps === true,
    details: options.raw !== true,
    ...(options.tail === undefined ? {} : { tail: options.tail }),
    ...(options.since === undefined ? {} : { since: sinceSeconds(options.since, ctx.clock.now()) }),
  };
  try {
    if (target.tty) {
      for await (const chunk of client.rawLogs(target.kind, target.id, query, abort.signal)) ctx.stdout.write(chunk);
      return;
    }
    const names = new TaskNames(client, options);
    for await (const frame of client.logs(target.kind, target.id, query, abort.signal)) {
      const out = frame.stream === 'stdout' ? ctx.stdout : ctx.stderr;
      out.write(options.raw === true ? frame.payload : await formatFrame(frame, names, options));
    }
  } catch (error) {
    if (!abort.signal.aborted) throw error;
  } finally {
    cancelInterrupt();
  }
}

interface Target {
  readonly kind: 'services' | 'tasks';
  readonly id: string;
  readonly tty: boolean;
}

async function findTarget(client: Client, name: string): Promise<Target> {
  try {
    const service = await client.service(name);
    return { kind: 'services', id: service.ID, tty: service.Spec.TaskTemplate.ContainerSpec.TTY === true };
  } catch (error) {
    if (!isKind(error, 'not_found')) throw error;
  }
  try {
    const task = await client.task(name);
    return { kind: 'tasks', id: task.ID, tty: task.Spec.ContainerSpec.TTY === true };
  } catch (error) {
    if (isKind(error, 'not_found')) throw new CliError(`no such task or service: ${name}`);
    throw error;
  }
}

/** Seconds since the epoch: from a date, from seconds as they are, or from an age. */
function sinceSeconds(text: string, nowMs: number): string {
  if (/^\d+(\.\d+)?$/.test(text)) return text;
  const date = Date.parse(text);
  if (/^\d{4}-/.test(text) && !Number.isNaN(date)) return String(date / 1000);
  try {
    return String((nowMs - parseDuration(text) / 1e6) / 1000);
  } catch {
    throw new ClusterError('invalid', `failed to parse value for "since": ${text}`);
  }
}

/** `[timestamp ]k=v,k=v message` → `web.1.ik2gw0gkkjfg@host    | message`. */
async function formatFrame(frame: LogFrame, names: TaskNames, options: Options): Promise<string> {
  const text = frame.payload.toString('utf8');
  const parts = options.timestamps === true ? 3 : 2;
  const [head, message] = splitHead(text, parts - 1);
  const details = parseDetails(head.at(-1) ?? '');
  const task = details.get('com.docker.swarm.task.id');
  const node = details.get('com.docker.swarm.node.id');
  const service = details.get('com.docker.swarm.service.id');
  if (task === undefined || node === undefined || service === undefined) {
    throw new ClusterError('internal', 'the log stream lacks the ids of task, node and service');
  }
  const prefix = await names.prefix({ task, node, service });
  const extra = [...details]
    .filter(([key]) => !key.startsWith('com.docker.swarm.'))
    .map(([key, value]) => `${key}=${value}`);
  const shown = options.details === true && extra.length > 0 ? `${extra.join(',')} ` : '';
  return `${options.timestamps === true ? `${head[0]} ` : ''}${prefix}    | ${shown}${message}`;
}

function splitHead(text: string, count: number): [string[], string] {
  const head: string[] = [];
  let rest = text;
  for (let index = 0; index < count; index++) {
    const at = rest.indexOf(' ');
    head.push(at < 0 ? rest : rest.slice(0, at));
    rest = at < 0 ? '' : rest.slice(at + 1);
  }
  return [head, rest];
}

function parseDetails(text: string): Map<string, string> {
  const decode = (part: string) => decodeURIComponent(part.replaceAll('+', ' '));
  return new Map(
    text
      .split(',')
      .filter((pair) => pair.includes('='))
      .map((pair): [string, string] => {
        const at = pair.indexOf('=');
        return [decode(pair.slice(0, at)), decode(pair.slice(at + 1))];
      }),
  );
}

interface TaskContext {
  readonly task: string;
  readonly node: string;
  readonly service: string;
}

const namesMax = 10_000;

/** The left column of each line; looked up once per task. */
class TaskNames {
  readonly #client: Client;
  readonly #options: Options;
  readonly #known = new Map<string, string>();
  #width = 0;

  constructor(client: Client, options: Options) {
    this.#client = client;
    this.#options = options;
  }

  async prefix(context: TaskContext): Promise<string> {
    let name = this.#known.get(context.task);
    if (name === undefined) {
      name = this.#options.resolve ? await this.#lookUp(context) : this.#unresolved(context);
      if (this.#known.size >= namesMax) this.#known.clear();
      this.#known.set(context.task, name);
      this.#width = Math.max(this.#width, name.length);
    }
    return name.padEnd(this.#width);
  }

  #unresolved({ task, node }: TaskContext): string {
    const cut = (id: string) => (this.#options.trunc ? shortId(id) : id);
    return `${cut(task)}@${cut(node)}`;
  }

  /** What is gone meanwhile is shown by its id. */
  async #lookUp(context: TaskContext): Promise<string> {
    const [task, service, node] = await Promise.all([
      this.#client.task(context.task).catch(() => undefined),
      this.#client.service(context.service).catch(() => undefined),
      this.#client.node(context.node).catch(() => undefined),
    ]);
    const cut = (id: string) => (this.#options.trunc ? shortId(id) : id);
    const slot = task === undefined ? '' : `.${taskSuffix(task)}`;
    const id = this.#options.taskIds ? `.${cut(context.task)}` : '';
    return `${service?.Spec.Name ?? cut(context.service)}${slot}${id}@${node === undefined ? cut(context.node) : nodeName(node)}`;
  }
}
