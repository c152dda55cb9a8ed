import { describe, expect, test } from 'vitest';
import type { ManagerBackend } from '../../model/control.ts';
import type { Secret, Task } from '../../model/objects.ts';
import { TaskState } from '../../model/task-state.ts';
import type { ChangeEvent } from '../../model/view.ts';
import { FakeNode } from '../testing/fake-node.ts';
import { eventTypes } from './attributes.ts';
import { EventFeed } from './feed.ts';

function world() {
  const node = new FakeNode();
  let commit: ((events: readonly ChangeEvent[]) => void) | undefined;
  const view = { get: () => undefined } as unknown as ManagerBackend['view'];
  const onCommit: ManagerBackend['onCommit'] = (handle) => {
    commit = handle;
    return () => (commit = undefined);
  };
  const feed = new EventFeed({ view, onCommit } as unknown as ManagerBackend, node.clock);
  return { feed, clock: node.clock, commit: (...events: ChangeEvent[]) => commit?.(events), hears: () => !!commit };
}

const meta = { version: 1, createdAt: 0, updatedAt: 0 };
const secret = (id: string, version: number): Secret => ({
  id,
  meta: { ...meta, version },
  spec: { Name: id, Labels: {}, Data: '' },
});
const task = (id: string, state: Task['status']['state']): Task => ({
  ...{ id, meta, serviceId: 's', slot: 1, nodeId: '', spec: { ContainerSpec: { Image: 'x' } }, specVersion: 1 },
  ...{ serviceName: 'web', serviceLabels: {}, endpoint: {}, desired: TaskState.running, restarts: [] },
  status: { state, timestamp: 0, message: '', err: '' },
});

describe('event feed', () => {
  test('commits that come together are one change of an object, but each one of a task', async () => {
    const { feed, clock, commit } = world();
    const heard: string[] = [];
    feed.listen({ types: new Set(eventTypes), hear: ({ Type, Action }) => heard.push(`${Type} ${Action}`) });
    const [pending, assigned] = [task('t', TaskState.pending), task('t', TaskState.assigned)];
    commit({ table: 'secret', after: secret('a', 1) }, { table: 'task', after: pending });
    commit({ table: 'secret', before: secret('a', 1), after: secret('a', 2) });
    commit({ table: 'task', before: pending, after: assigned }, { table: 'secret', after: secret('b', 1) });
    commit({ table: 'secret', before: secret('b', 1) });
    await clock.advance(1);
    expect(heard).toEqual(['secret create', 'task create', 'task update']);
  });

  test('hears commits only while somebody listens, and of tasks only what is asked for', async () => {
    const { feed, clock, commit, hears } = world();
    const heard: string[] = [];
    const stop = feed.listen({ types: new Set(['secret']), hear: ({ Type }) => heard.push(Type) });
    commit({ table: 'task', after: task('t', TaskState.pending) }, { table: 'secret', after: secret('a', 1) });
    const late = feed.listen({ types: new Set(['secret']), hear: () => heard.push('late') });
    await clock.advance(1);
    stop();
    expect(hears()).toBe(true);
    late();
    expect([hears(), heard]).toEqual([false, ['secret']]);
  });

  test('keeps no more than a bounded number of changes', () => {
    const { feed, commit } = world();
    let heard = 0;
    feed.listen({ types: new Set(['task']), hear: () => heard++ });
    for (let at = 0; at <= 10_000; at++) commit({ table: 'task', after: task(`t${at}`, TaskState.pending) });
    expect(heard).toBe(10_000);
  });
});
