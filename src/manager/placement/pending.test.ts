import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Task } from '../../model/objects.ts';
import { groupKey } from '../../scheduler/index.ts';
import { pendingTask } from '../../scheduler/testing/objects.ts';
import { Pending } from './pending.ts';

const ids = (tasks: readonly Task[]) => tasks.map((task) => task.id).sort();

function taskOf(at: number, change: { readonly group: number; readonly handover: boolean }): Task {
  const base = { ...pendingTask(`t${at}`, 's'), serviceId: `s${change.group}`, specVersion: 1 };
  const own = change.group === 0 ? { pinned: true as const, nodeId: `n${at % 3}` } : {};
  return { ...base, ...own, ...(change.handover ? { handover: 'stop-first' as const, replaces: 'old' } : {}) };
}

describe('tasks that wait', () => {
  test('are known as waiting only the first time; a group is gone with its last task', () => {
    const pending = new Pending();
    const task = taskOf(1, { group: 1, handover: false });
    expect([pending.put(task), pending.put(task)]).toEqual([true, false]);
    expect([...pending.groups()]).toHaveLength(1);
    pending.delete(task);
    expect([...pending.groups()]).toHaveLength(0);
    pending.delete(task);
    expect(pending.put(task)).toBe(true);
  });

  test('come by group, each as it is when its turn comes', () => {
    const pending = new Pending();
    const [one, two] = [taskOf(1, { group: 1, handover: false }), taskOf(2, { group: 2, handover: false })];
    pending.put(one);
    pending.put(two);
    const seen: string[][] = [];
    for (const group of pending.groups()) {
      seen.push(ids(group.tasks));
      pending.delete(two);
    }
    expect(seen).toEqual([['t1']]);
  });

  test('property: groups are those of a look at all tasks, whatever came and went', () => {
    const step = fc.record({
      at: fc.nat(9),
      group: fc.nat(2),
      handover: fc.boolean(),
      what: fc.constantFrom('put', 'put', 'delete', 'tried'),
    });
    const freed = new Set(['n1']);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const pending = new Pending();
        const all = new Map<string, Task>();
        const tried = new Set<string>();
        for (const { at, what, ...change } of steps) {
          const known = all.get(`t${at}`);
          const task = taskOf(at, { ...change, group: at % 3 });
          if (what === 'put') {
            expect(pending.put(task)).toBe(known === undefined);
            all.set(task.id, task);
          } else if (known !== undefined && what === 'delete') {
            pending.delete(known);
            all.delete(known.id);
            tried.delete(known.id);
          } else if (known !== undefined) {
            for (const group of pending.groups()) group.noteTried(known.id);
            tried.add(known.id);
          }
        }
        const groups = [...pending.groups()];
        expect(groups.flatMap(({ tasks }) => ids(tasks)).sort()).toEqual(ids([...all.values()]));
        for (const group of groups) {
          const tasks = [...all.values()].filter((task) => groupKey(task) === groupKey(group.sample as Task));
          expect(ids(group.tasks)).toEqual(ids(tasks));
          const open = (task: Task) => !tried.has(task.id) || task.handover !== undefined;
          expect(group.isTried).toBe(!tasks.some(open));
          const near = tasks.filter((task) => open(task) || (task.pinned === true && freed.has(task.nodeId)));
          expect(ids(group.concernedBy(freed))).toEqual(ids(near));
        }
      }),
      { seed: 20261121, numRuns: 200 },
    );
  });
});
