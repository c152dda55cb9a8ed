import { expect, test } from 'vitest';
import { ClusterError } from '../../lib/errors.ts';
import { realClock } from '../../lib/real.ts';
import type { Containerd } from './client.ts';
import { Runtime } from './runtime.ts';

const closed = () => new ClusterError('internal', 'failed to delete task: ttrpc: closed');
const gone = () => new ClusterError('not_found', 'no such task');

/** Answers each call with the next error. */
function scripted(errors: (() => Error)[]): { readonly runtime: Runtime; readonly calls: string[] } {
  const calls: string[] = [];
  const call = async ({ path }: { readonly path: string }) => {
    calls.push(path.split('/').at(-1) ?? '');
    throw (errors.shift() ?? gone)();
  };
  return { runtime: new Runtime({ call } as unknown as Containerd, realClock), calls };
}

test('a task whose shim ends in this moment, since somebody else deleted it, is gone', async () => {
  const { runtime, calls } = scripted([closed, closed]);
  await runtime.deleteTask('t');
  expect(calls).toEqual(['Delete', 'Delete', 'Delete']);
  expect(await scripted([closed]).runtime.process('t')).toBeUndefined();
  await scripted([closed]).runtime.kill('t', 9, true);
});

test('any other error is told at once', async () => {
  const { runtime, calls } = scripted([() => new ClusterError('internal', 'permission denied')]);
  await expect(runtime.deleteTask('t')).rejects.toThrow('permission denied');
  expect(calls).toHaveLength(1);
});
