/**
 * Which tasks are out of date, remembered per spec version: tasks of one version have equal specs, and comparing two specs is
 * a thousand times dearer than comparing two numbers.
 */
import type { Node, Service, Task } from '../../../model/objects.ts';
import { isDirty } from '../task.ts';

/** More versions than this among the tasks of a service: the memory is emptied. */
const versionsMax = 1000;

export class Dirt {
  readonly #service: Service;
  /** `placed`: it depends on where the task is. */
  readonly #byVersion = new Map<number, 'clean' | 'dirty' | 'placed'>();

  constructor(service: Service) {
    this.#service = service;
  }

  isDirty(task: Task, node: Node | undefined): boolean {
    if (task.specVersion === this.#service.specVersion) return false;
    const known = this.#byVersion.get(task.specVersion) ?? this.#learn(task, node);
    return known === 'placed' ? isDirty(task, this.#service, node) : known === 'dirty';
  }

  /** A difference of placement alone shows when there is a node: without one it counts as dirty. */
  #learn(task: Task, node: Node | undefined): 'clean' | 'dirty' | 'placed' {
    if (!isDirty(task, this.#service, undefined)) return this.#remember(task, 'clean');
    if (node === undefined) return 'placed';
    return this.#remember(task, isDirty(asIfUnplaced(task, this.#service), this.#service, node) ? 'dirty' : 'placed');
  }

  #remember<T extends 'clean' | 'dirty' | 'placed'>(task: Task, verdict: T): T {
    if (this.#byVersion.size >= versionsMax) this.#byVersion.clear();
    this.#byVersion.set(task.specVersion, verdict);
    return verdict;
  }
}

/** The task with the service's placement: what still differs has nothing to do with where it is. */
function asIfUnplaced(task: Task, { spec }: Service): Task {
  const { Placement: _, ...rest } = task.spec;
  const { Placement } = spec.TaskTemplate;
  return { ...task, spec: { ...rest, ...(Placement === undefined ? {} : { Placement }) } };
}
