import { expect, test } from 'vitest';
import { VirtualClock } from '../lib/testing/virtual-clock.ts';
import type { TaskReport } from '../model/assignment.ts';
import type { TaskStatus } from '../model/objects.ts';
import { TaskState } from '../model/task-state.ts';
import { Reporter } from './reporter.ts';

const status = (state: number): TaskStatus => ({ state, at: 0, message: '' }) as unknown as TaskStatus;

function opened() {
  const clock = new VirtualClock();
  const told: string[] = [];
  const reporter = new Reporter(clock, (error) => {
    throw error;
  });
  const send = (reports: readonly TaskReport[]) =>
    told.push(reports.map(({ taskId, status: { state } }) => `${taskId}:${state}`).join(' '));
  reporter.session(send);
  return { clock, told, reporter };
}

test('states that a task only passes through are not told; the one it stays in is, with those of others', async () => {
  const { clock, told, reporter } = opened();
  reporter.put('a', status(TaskState.accepted));
  reporter.put('b', status(TaskState.accepted));
  reporter.put('a', status(TaskState.preparing));
  await clock.advance(60);
  reporter.put('b', status(TaskState.starting));
  expect(told).toEqual([]);
  await clock.advance(40);
  expect(told).toEqual(['a:320 b:448']);
});

test('what somebody waits for is told at once, and alone', async () => {
  const { clock, told, reporter } = opened();
  reporter.put('a', status(TaskState.preparing));
  reporter.put('b', status(TaskState.starting));
  reporter.put('a', status(TaskState.running));
  reporter.put('c', status(TaskState.ready));
  await clock.advance(1);
  expect(told).toEqual(['a:512 c:384']);
  reporter.put('d', status(TaskState.rejected));
  await clock.advance(1);
  expect(told).toEqual(['a:512 c:384', 'd:768']);
  await clock.advance(98);
  expect(told).toEqual(['a:512 c:384', 'd:768', 'b:448']);
});

test('one report per task is on the way; what came meanwhile follows its acknowledgement', async () => {
  const { clock, told, reporter } = opened();
  reporter.put('a', status(TaskState.ready));
  await clock.advance(1);
  reporter.put('a', status(TaskState.starting));
  reporter.acknowledged([{ taskId: 'a', state: TaskState.ready }]);
  await clock.advance(50);
  expect(told).toEqual(['a:384']);
  await clock.advance(50);
  expect(told).toEqual(['a:384', 'a:448']);
  reporter.put('a', status(TaskState.running));
  await clock.advance(200);
  expect(told).toHaveLength(2);
  reporter.acknowledged([{ taskId: 'a', state: TaskState.starting }]);
  await clock.advance(1);
  expect(told.at(-1)).toBe('a:512');
  reporter.acknowledged([{ taskId: 'a', state: TaskState.running }]);
  expect(reporter.size).toBe(0);
});

test('a new session is told everything that nobody acknowledged', async () => {
  const { clock, told, reporter } = opened();
  reporter.put('a', status(TaskState.running));
  await clock.advance(1);
  reporter.session(undefined);
  reporter.put('b', status(TaskState.preparing));
  await clock.advance(200);
  reporter.session((reports) => told.push(`again ${reports.length}`));
  await clock.advance(1);
  expect(told).toEqual(['a:512', 'again 2']);
});
