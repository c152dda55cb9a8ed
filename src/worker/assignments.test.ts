import { describe, expect, test } from 'vitest';
import type { AssignmentSet } from '../model/assignment.ts';
import { AssignmentInbox, DependencyStore } from './assignments.ts';

const set = (more: Partial<AssignmentSet>): AssignmentSet => ({
  kind: 'incremental',
  appliesTo: 1,
  resultsIn: 2,
  tasks: [],
  removedTasks: [],
  secrets: [],
  removedSecrets: [],
  configs: [],
  removedConfigs: [],
  ...more,
});

describe('registry credentials', () => {
  test('come and go with their task, are replaced by newer ones, and a full set replaces all', () => {
    const store = new DependencyStore();
    const held = () => ['t1', 't2', 't3'].map((id) => store.registryAuth(id));
    const both = ['t1', 't2'].map((taskId) => ({ taskId, auth: `${taskId}-auth` }));
    store.apply(set({ credentials: both }));
    expect(held()).toEqual(['t1-auth', 't2-auth', undefined]);
    store.apply(set({}));
    expect(held()).toEqual(['t1-auth', 't2-auth', undefined]);
    store.apply(set({ credentials: [{ taskId: 't1', auth: 'newer' }], removedTasks: ['t2'] }));
    expect(held()).toEqual(['newer', undefined, undefined]);
    store.apply(set({ credentials: [{ taskId: 't1', auth: '' }] }));
    expect(held()).toEqual([undefined, undefined, undefined]);
    store.apply(set({ credentials: both }));
    store.apply(set({ kind: 'full', credentials: [{ taskId: 't3', auth: 'c' }] }));
    expect(held()).toEqual([undefined, undefined, 'c']);
    store.clear();
    expect(held()).toEqual([undefined, undefined, undefined]);
  });

  test('come in any part of a set', () => {
    const inbox = new AssignmentInbox();
    const part = { kind: 'full', appliesTo: 0, resultsIn: 1 } as const;
    expect(inbox.add(set({ ...part, more: true, credentials: [{ taskId: 't1', auth: 'a' }] }))).toBe('incomplete');
    expect(inbox.add(set({ ...part, more: true }))).toBe('incomplete');
    expect(inbox.add(set({ ...part, credentials: [{ taskId: 't2', auth: 'b' }] }))).toMatchObject({
      credentials: [
        { taskId: 't1', auth: 'a' },
        { taskId: 't2', auth: 'b' },
      ],
    });
  });
});
