import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import type { LogLine, LogQuery } from '../../model/assignment.ts';
import { lookup } from '../../model/lookup.ts';
import type { ClusterView } from '../../model/view.ts';
import { type ApiContext, freshView, manager } from '../context.ts';
import { flag, param, pathId, timeParam } from '../query.ts';
import { streamReply } from '../stream.ts';
import { frame } from './frame.ts';

const tasksMax = 10_000;

export function logRoutes(app: FastifyInstance, context: ApiContext): void {
  app.get('/services/:id/logs', (request, reply) => {
    const service = lookup(freshView(context), 'service', pathId(request));
    const tty = service.spec.TaskTemplate.ContainerSpec.TTY === true;
    return sendLogs(context, { request, reply, selector: { serviceId: service.id }, tty });
  });

  app.get('/tasks/:id/logs', (request, reply) => {
    const task = lookup(freshView(context), 'task', pathId(request));
    return sendLogs(context, {
      request,
      reply,
      selector: { taskId: task.id },
      tty: task.spec.ContainerSpec.TTY === true,
    });
  });
}

interface LogsCall {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly selector: { readonly serviceId: string } | { readonly taskId: string };
  readonly tty: boolean;
}

async function sendLogs(context: ApiContext, { request, reply, selector, tty }: LogsCall): Promise<void> {
  const backend = manager(context);
  const query = parseQuery(request);
  const render = lineRenderer(backend.view, {
    timestamps: flag(request, 'timestamps'),
    details: flag(request, 'details'),
    tty,
  });
  const headers = { ...context.respond.common, 'content-type': contentType(request, tty) };
  await streamReply(reply, headers, {
    make: (signal) => rendered(backend.logs(selector, query, signal), render),
    failure: (message) => (tty ? Buffer.from(`${message}\n`) : frame('systemError', Buffer.from(`${message}\n`))),
  });
}

async function* rendered(lines: AsyncIterable<LogLine>, render: (line: LogLine) => Buffer): AsyncGenerator<Buffer> {
  for await (const line of lines) yield render(line);
}

function parseQuery(request: FastifyRequest): LogQuery {
  const stdout = flag(request, 'stdout');
  const stderr = flag(request, 'stderr');
  if (!stdout && !stderr) throw new ClusterError('invalid', 'Bad parameters: you must choose at least one stream');
  const tail = param(request, 'tail');
  if (!/^(all|-?\d{1,15})?$/.test(tail))
    throw new ClusterError('invalid', `invalid tail: "${tail}" is neither a number of lines nor "all"`);
  return {
    stdout,
    stderr,
    follow: flag(request, 'follow'),
    tail: /^\d{1,15}$/.test(tail) ? Number(tail) : -1,
    since: timeParam(request, 'since'),
    until: timeParam(request, 'until'),
  };
}

/** The multiplexed type exists since API 1.42. */
function contentType(request: FastifyRequest, tty: boolean): string {
  const minor = /^\/v1\.(\d+)\//.exec(request.originalUrl)?.[1];
  const isOld = minor !== undefined && Number(minor) < 42;
  return tty || isOld ? 'application/vnd.docker.raw-stream' : 'application/vnd.docker.multiplexed-stream';
}

interface RenderOptions {
  readonly timestamps: boolean;
  readonly details: boolean;
  readonly tty: boolean;
}

function lineRenderer(view: ClusterView, options: RenderOptions): (line: LogLine) => Buffer {
  const detailsOf = options.details ? detailsReader(view) : () => '';
  return (line) => {
    const time = options.timestamps ? `${line.time} ` : '';
    const payload = Buffer.from(`${time}${detailsOf(line.taskId)}${line.text}`);
    return options.tty ? payload : frame(line.stream, payload);
  };
}

/** `k=v,k=v ` of a task. Remembered, because a task may be forgotten by the cluster while its log is still read. */
function detailsReader(view: ClusterView): (taskId: string) => string {
  const known = new Map<string, string>();
  return (taskId) => {
    const kept = known.get(taskId);
    if (kept !== undefined) return kept;
    const task = view.get('task', taskId);
    const details = Object.entries({
      'com.docker.swarm.node.id': task?.nodeId ?? '',
      'com.docker.swarm.service.id': task?.serviceId ?? '',
      'com.docker.swarm.task.id': taskId,
    });
    const text = `${details.map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`).join(',')} `;
    if (known.size >= tasksMax) known.clear();
    known.set(taskId, text);
    return text;
  };
}
