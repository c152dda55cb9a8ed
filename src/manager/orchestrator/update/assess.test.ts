import { expect, test } from 'vitest';
import type { Service, Task } from '../../../model/objects.ts';
import { TaskState } from '../../../model/task-state.ts';
import { assess } from './assess.ts';

const updateStatus = { state: 'updating', startedAt: 100, message: '' } as const;
const service = { id: 'web', specVersion: 2, updateStatus } as unknown as Service;
const context = { service, startedAt: 100, monitorMs: 5_000, isDirty: () => false, nodeOf: () => undefined };

function ended(change: Partial<Task>): Task {
  const status = { state: TaskState.failed, timestamp: 0, message: '', err: '' };
  const meta = { version: 1, createdAt: 100, updatedAt: 900_000 };
  const made = { id: 't', slot: 1, nodeId: '', specVersion: 2, desired: TaskState.running, status, meta };
  return { ...made, updateBegunAt: 100, ...change } as unknown as Task;
}

test('between the end of a task that ran and the making of its successor the place has time from that end on', () => {
  const { stage, begunAt, failure } = assess([ended({ runningSince: 200, endedAt: 900_000 })], context);
  expect([stage, begunAt, failure]).toEqual(['underway', 900_000, undefined]);
});

test('the time of a place whose tasks never ran begins when the update came to it', () => {
  expect(assess([ended({ endedAt: 900_000 })], context)).toMatchObject({ stage: 'underway', begunAt: 100 });
});

test('how long a task ran is told by the stamps of the leader, whatever was written about it since', () => {
  const early = ended({ runningSince: 200, endedAt: 5_200 });
  expect(assess([early], context).failure).toEqual({ taskId: 't', why: '' });
  expect(assess([ended({ runningSince: 200, endedAt: 5_201 })], context).failure).toBeUndefined();
});
