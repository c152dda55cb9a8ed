import { describe, expect, test } from 'vitest';
import type { DesiredState } from '../model/task-state.ts';
import { TaskState, type TaskStateName } from '../model/task-state.ts';
import { advance, nextStep, outcome } from './task-step.ts';

function step(state: TaskStateName, desired: DesiredState, over = {}): string {
  return nextStep({ state: TaskState[state], desired, unassigned: false, lost: false, ...over });
}

describe('task steps', () => {
  const states = [
    'assigned',
    'accepted',
    'preparing',
    'ready',
    'starting',
    'running',
    'complete',
    'shutdown',
    'failed',
    'rejected',
    'orphaned',
  ] as const;
  const table = (desired: DesiredState, over = {}) =>
    states.map((state) => `${state} → ${step(state, desired, over)}`).join(', ');

  test('wanted running: every state has its next step', () => {
    expect(table(TaskState.running)).toBe(
      'assigned → accept, accepted → prepare, preparing → prepare, ready → start, starting → start, running → wait, ' +
        'complete → idle, shutdown → idle, failed → idle, rejected → idle, orphaned → idle',
    );
    expect(table(TaskState.complete)).toBe(table(TaskState.running));
  });

  test('wanted ready: prepared, then waits', () => {
    expect(step('preparing', TaskState.ready)).toBe('prepare');
    expect(step('ready', TaskState.ready)).toBe('idle');
  });

  test('wanted stopped: whatever has not ended is stopped', () => {
    for (const desired of [TaskState.shutdown, TaskState.remove] as const) {
      expect(table(desired)).toBe(
        'assigned → shutdown, accepted → shutdown, preparing → shutdown, ready → shutdown, starting → shutdown, running → shutdown, ' +
          'complete → idle, shutdown → idle, failed → idle, rejected → idle, orphaned → idle',
      );
    }
  });

  test('unassigned: removed from every state', () => {
    for (const state of states) expect(step(state, TaskState.running, { unassigned: true })).toBe('remove');
  });

  test('lost with the host: prepared again, unless it should stop or has ended', () => {
    expect(step('running', TaskState.running, { lost: true })).toBe('prepare');
    expect(step('running', TaskState.shutdown, { lost: true })).toBe('shutdown');
    expect(step('failed', TaskState.running, { lost: true })).toBe('idle');
  });

  test('states never go back, and an ended task stays ended', () => {
    expect(advance(TaskState.ready, TaskState.running)).toBe(TaskState.running);
    expect(() => advance(TaskState.running, TaskState.ready)).toThrow('moved');
    expect(() => advance(TaskState.complete, TaskState.failed)).toThrow('moved');
  });

  test('an exit is complete only with code 0 and of its own doing', () => {
    expect(outcome({ exitCode: 0, at: 1 })).toEqual({ state: TaskState.complete, message: 'finished', err: '' });
    expect(outcome({ exitCode: 3, at: 1 })).toMatchObject({ state: TaskState.failed, err: 'task: non-zero exit (3)' });
    expect(outcome({ exitCode: 0, reason: 'unhealthy container', at: 1 })).toMatchObject({ state: TaskState.failed });
  });
});
