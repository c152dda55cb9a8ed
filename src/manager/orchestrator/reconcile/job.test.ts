import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { jobSizeOf } from '../../../model/defaults.ts';
import type { Service, Task } from '../../../model/objects.ts';
import { TaskState } from '../../../model/task-state.ts';
import { mayMove, shouldRestart } from '../restart.ts';
import type { Seat } from '../seat.ts';
import { seatsOf } from '../seat.ts';
import { isWanted } from '../task.ts';
import { nginx, World, worldOf } from '../testing/world.ts';
import { JobBook, jobSlotOf } from './job.ts';
import type { Intent } from './slot.ts';
import { endedByItself } from './slot.ts';

/** The plain rule: a look at all tasks of the job. */
function decideJob({ spec, jobStatus }: Service, tasks: readonly Task[]): ReadonlyMap<number, Intent> {
  const { maxConcurrent, totalCompletions } = jobSizeOf(spec);
  const intents = new Map<number, Intent>();
  const current: Task[] = [];
  for (const task of tasks) {
    if (task.jobIteration === jobStatus?.iteration) current.push(task);
    else if (task.desired < TaskState.remove) intents.set(task.slot, 'hold');
  }
  let active = 0;
  const taken = new Set<number>();
  for (const seat of seatsOf(current, { now: 0, nodeOf: () => undefined })) {
    const slot = Number(seat.place);
    taken.add(slot);
    if (isDone(seat) && seat.tasks.length === 1 && !intents.has(slot)) continue;
    intents.set(slot, 'keep');
    if (!isDone(seat) && !isSpent(seat)) active += 1;
  }
  for (let slot = 0; slot < totalCompletions && active < maxConcurrent; slot++) {
    if (taken.has(slot)) continue;
    intents.set(slot, 'keep');
    active += 1;
  }
  return intents;
}

function isDone(seat: Seat): boolean {
  return seat.tasks.some((task) => task.status.state === TaskState.complete);
}

function isSpent({ tasks }: Seat): boolean {
  const last = tasks.at(-1);
  if (last === undefined || tasks.some((task) => isWanted(task) && !endedByItself(task))) return false;
  return endedByItself(last) ? !shouldRestart(last) : !mayMove(last);
}

const iteration = 1;

function jobOf(MaxConcurrent: number, TotalCompletions: number): Service {
  const Mode = { ReplicatedJob: { MaxConcurrent, TotalCompletions } };
  const spec = { Name: 'job', Labels: {}, TaskTemplate: nginx(), Mode };
  const meta = { version: 1, createdAt: 0, updatedAt: 0 };
  return { id: 'job', meta, spec, specVersion: 1, jobStatus: { iteration, lastExecution: 0 } };
}

interface Shape {
  readonly slot: number;
  readonly iteration: number;
  readonly state: Task['status']['state'];
  readonly desired: Task['desired'];
  readonly attempts: number;
}

function taskOf(id: string, { slot, iteration: jobIteration, state, desired, attempts }: Shape): Task {
  return {
    id,
    meta: { version: 1, createdAt: 0, updatedAt: 10 },
    serviceId: 'job',
    slot,
    jobIteration,
    nodeId: '',
    spec: nginx({ RestartPolicy: { Condition: attempts === 3 ? 'none' : 'on-failure', MaxAttempts: attempts } }),
    specVersion: 1,
    serviceName: 'job',
    serviceLabels: {},
    endpoint: {},
    desired,
    status: { state, timestamp: 0, message: '', err: '' },
    restarts: [1, 2],
  };
}

test('property: what is known slot by slot says the same as a look at all tasks, whatever came and went', () => {
  const { pending, running, complete, failed, shutdown, remove } = TaskState;
  const shape = fc.record({
    slot: fc.nat(9),
    iteration: fc.constantFrom(0, iteration, iteration, iteration),
    state: fc.constantFrom(pending, running, complete, failed, shutdown),
    desired: fc.constantFrom(complete, complete, shutdown, remove),
    attempts: fc.nat(3),
  });
  const step = fc.record({ at: fc.nat(14), gone: fc.nat(3).map((one) => one === 0), shape });
  const size = fc.tuple(fc.nat(6), fc.nat(12));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), size, fc.nat(20), (steps, [atOnce, total], from) => {
      const service = jobOf(atOnce, total);
      const tasks = new Map<string, Task>();
      const book = new JobBook();
      const at = (slot: number) => [...tasks.values()].filter((task) => task.slot === slot);
      const look = (slot: number) => book.put(slot, jobSlotOf(at(slot), iteration).state);
      for (const [number, { at: id, gone, shape: one }] of steps.entries()) {
        const before = tasks.get(`t${id}`);
        if (gone) tasks.delete(`t${id}`);
        // A task never changes its slot or its execution.
        else
          tasks.set(
            `t${id}`,
            taskOf(`t${id}`, { ...one, ...(before && { slot: before.slot, iteration: before.jobIteration ?? 0 }) }),
          );
        // What was there before the leader began is read later, and some of it is told of first.
        if (number >= from) look(before?.slot ?? one.slot);
        if (number === from) for (const { slot } of tasks.values()) look(slot);
        if (number < from) continue;
        const intents = new Map<number, Intent>();
        for (let slot = 0; slot < 10; slot++) {
          const { intent } = jobSlotOf(at(slot), iteration);
          if (intent !== undefined) intents.set(slot, intent);
        }
        for (const slot of book.firstFree(atOnce - book.active, total)) intents.set(slot, 'keep');
        const sorted = (all: ReadonlyMap<number, Intent>) => [...all].sort(([a], [b]) => a - b);
        expect(sorted(intents)).toEqual(sorted(decideJob(service, [...tasks.values()])));
      }
    }),
    { seed: 20261121, numRuns: 300 },
  );
});

describe('a large job', () => {
  const mode = { Mode: { ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 400 } } };

  async function halfDone(): Promise<World> {
    const world = await worldOf(1);
    await world.spec('job', mode);
    world.agent = (task) => (task.slot < 200 ? TaskState.complete : TaskState.running);
    await world.advance(1000);
    expect(world.tasks('job').filter((task) => task.status.state === TaskState.complete)).toHaveLength(200);
    return world;
  }

  test('is not looked at as a whole when one of its tasks ends', async () => {
    const world = await halfDone();
    const running = world.tasks('job').filter((task) => task.status.state === TaskState.running);
    expect(running.map((task) => task.slot)).toEqual([200, 201, 202]);
    const all = vi.spyOn(world.store.view, 'tasksOfService');
    const slot = vi.spyOn(world.store.view, 'tasksOfSlot');
    for (const task of running.slice(0, 1)) await world.report(task.id, TaskState.complete);
    await world.settle();
    expect(all).not.toHaveBeenCalled();
    expect(slot.mock.calls.length).toBeLessThan(100);
    all.mockRestore();
    slot.mockRestore();
    expect(world.tasks('job')).toHaveLength(204);
  });

  test('goes on where it was under the next leader, three at a time, to the end', async () => {
    const world = await halfDone();
    await world.stop();
    await world.start();
    world.agent = () => TaskState.complete;
    let most = 0;
    world.check = () => {
      const active = world.tasks('job').filter((task) => task.status.state < TaskState.complete);
      most = Math.max(most, active.length);
    };
    await world.advance(1000);
    expect(
      world
        .tasks('job')
        .map((task) => task.slot)
        .sort((a, b) => a - b),
    ).toEqual(Array.from({ length: 400 }, (_, at) => at));
    expect(most).toBe(3);
  });
});
