/** The containerd driver against a real containerd, runc and registry. Needs root. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LogLine, LogQuery } from '../../src/model/assignment.ts';
import type { Dependencies } from '../../src/worker/executor/port.ts';
import type { ContainerdExecutor } from '../../src/worker/containerd/executor.ts';
import { busyboxImage, pushImage } from '../fixtures/images.ts';
import { type ContainerdHost, makeTask, startContainerdHost } from './containerd-host.ts';

const nothing: Dependencies = { secret: () => undefined, config: () => undefined };
const everything: LogQuery = { stdout: true, stderr: true, follow: false, tail: -1, since: 0, until: 0 };
const never = () => new AbortController().signal;

let host: ContainerdHost;
let executor: ContainerdExecutor;

beforeAll(async () => {
  host = await startContainerdHost();
  await pushImage(`http://${host.registry}`, 'library/busybox:latest', await busyboxImage());
  executor = host.executor();
});

afterAll(() => host.close());

describe('running containers', () => {
  test('a command runs to its end, its output is kept apart by stream, its exit code is told', async () => {
    const task = makeTask({ Command: ['sh', '-c', 'echo out; echo err >&2; exit 7'] });
    const controller = executor.controller(task, nothing);
    await controller.prepare(never());
    await controller.start(never());
    expect(await controller.wait(never())).toMatchObject({ exitCode: 7 });
    const lines = await collect(executor.logs(task.id, everything, never()));
    expect(lines.map((line) => [line.stream, line.text])).toEqual(
      expect.arrayContaining([
        ['stdout', 'out\n'],
        ['stderr', 'err\n'],
      ]),
    );
    await controller.remove();
    expect(await executor.existing()).not.toContain(task.id);
  });
});

async function collect(lines: AsyncIterable<LogLine>): Promise<LogLine[]> {
  const all: LogLine[] = [];
  for await (const line of lines) all.push(line);
  return all;
}
