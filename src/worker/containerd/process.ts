/** Running one more process in a container: what health checks use. */
import type { Clock } from '../../lib/clock.ts';
import { ClusterError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Random } from '../../lib/random.ts';
import type { Containerd } from './client.ts';
import { ContainersService } from './gen/containerd/containers.ts';
import { TasksService } from './gen/containerd/tasks.ts';

const processType = 'types.containerd.io/opencontainers/runtime-spec/1/Process';
const sigkill = 9;

export interface ExecOptions {
  readonly containerd: Containerd;
  readonly clock: Clock;
  readonly random: Random;
}

/** Runs `args` in the container as its own process runs, without input or output, and gives the exit code. */
export async function execute(
  options: ExecOptions,
  containerId: string,
  args: readonly string[],
  limit: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<number> {
  const { containerd, random, clock } = options;
  const spec = await processSpec(containerd, containerId, args);
  const execId = `exec-${newId(random)}`;
  const request = { containerId, execId };
  const io = { stdin: '', stdout: '', stderr: '', terminal: false };
  await containerd.call(TasksService.exec, { ...request, ...io, spec });
  let timedOut = false;
  const kill = () => {
    containerd.call(TasksService.kill, { ...request, signal: sigkill, all: false }).catch(() => {});
  };
  const cancel = clock.timer(limit.timeoutMs, () => {
    timedOut = true;
    kill();
  });
  limit.signal.addEventListener('abort', kill, { once: true });
  try {
    await containerd.call(TasksService.start, request);
    const wait = { timeoutMs: limit.timeoutMs + 10_000 };
    const { exitStatus } = await containerd.call(TasksService.wait, request, wait);
    if (timedOut) throw new ClusterError('deadline', `the command took longer than ${limit.timeoutMs} ms`);
    return exitStatus;
  } finally {
    cancel();
    limit.signal.removeEventListener('abort', kill);
    await containerd.call(TasksService.deleteProcess, request).catch(() => {});
  }
}

async function processSpec(containerd: Containerd, id: string, args: readonly string[]) {
  const { container } = await containerd.call(ContainersService.get, { id });
  if (container?.spec === undefined) throw new ClusterError('not_found', `container ${id} has no spec`);
  const spec = JSON.parse(Buffer.from(container.spec.value).toString('utf8')) as { process: Record<string, unknown> };
  const value = Buffer.from(JSON.stringify({ ...spec.process, args, terminal: false }));
  return { typeUrl: processType, value };
}
