/**
 * Holds back the stop of tasks until nobody is led to them any more: every connected node that had one in a map has acknowledged
 * a version without it, or two seconds have passed; then requests under way get the drain time. Only the order of things is
 * kept here, in memory: a new leader, who knows of no acknowledgement, holds each task that is being stopped once more.
 */
import type { Cancel, Clock } from '../../../lib/clock.ts';
import type { Pulled } from './feed.ts';

/** How long nodes are waited for: one that hangs must not hold up the others. */
export const withdrawalLimitMs = 2_000;
/** Versions of one node that wait to be acknowledged; older ones, of a node that has been silent for long, are let go. */
const pulledMax = 1_000;

interface Hold {
  readonly taskId: string;
  readonly nodeId: string;
  readonly drainMs: number;
  /** Nodes that registered after this may still have it in their maps until they acknowledge their first version. */
  readonly after: number;
  /** `unannounced`: its own node is not connected, and could be told nothing anyway. */
  state: 'unannounced' | 'waiting' | 'draining';
  /** When nobody is waited for any more. */
  deadline: number;
  drained: boolean;
  cancel: Cancel;
}

export interface StopGateOptions {
  readonly clock: Clock;
  /** The task may be told to stop now. */
  readonly released: (taskId: string, nodeId: string) => void;
}

export interface HeldTask {
  readonly taskId: string;
  readonly nodeId: string;
  readonly drainMs: number;
}

export class StopGate {
  readonly #options: StopGateOptions;
  readonly #holds = new Map<string, Hold>();
  /** By node: the versions that take tasks out of its maps, until it has acknowledged them; oldest first. */
  readonly #pulled = new Map<string, Pulled[]>();
  /** By task: in how many of those it is. */
  readonly #counts = new Map<string, number>();
  /** Nodes whose maps are of an earlier session, and when they registered; oldest first. */
  readonly #fresh = new Map<string, number>();
  #newestFresh = 0;
  #registrations = 0;

  constructor(options: StopGateOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#holds.size;
  }

  holds(taskId: string): boolean {
    return this.#holds.has(taskId);
  }

  /** At the start: the nodes that should come, with the maps of another leader. */
  expect(nodeIds: readonly string[]): void {
    for (const nodeId of nodeIds) this.#fresh.set(nodeId, Number.POSITIVE_INFINITY);
    this.#newestFresh = nodeIds.length > 0 ? Number.POSITIVE_INFINITY : 0;
  }

  /** The node has been told everything anew. */
  registered(nodeId: string): void {
    this.#registrations += 1;
    this.#fresh.set(nodeId, this.#registrations);
    this.#newestFresh = Math.max(0, ...this.#fresh.values());
    this.#forgetPulled(nodeId);
    for (const hold of this.#holds.values())
      if (hold.state === 'unannounced' && hold.nodeId === nodeId) this.#wait(hold);
  }

  /** The node's session is over. Its own tasks are held until it returns: others may return with it that still lead to them. */
  left(nodeId: string): void {
    for (const hold of this.#holds.values()) {
      if (hold.nodeId !== nodeId) continue;
      hold.cancel();
      hold.state = 'unannounced';
    }
    this.lost(nodeId);
  }

  /** Nobody waits for the node. */
  lost(nodeId: string): void {
    this.#forgetPulled(nodeId);
    this.#settled(nodeId);
  }

  /** The version takes active tasks out of the node's maps. */
  pulled({ nodeId, version, taskIds }: Pulled): void {
    const pulled = this.#pulled.get(nodeId) ?? [];
    this.#pulled.set(nodeId, pulled);
    pulled.push({ nodeId, version, taskIds });
    for (const taskId of taskIds) this.#counts.set(taskId, (this.#counts.get(taskId) ?? 0) + 1);
    if (pulled.length > pulledMax) this.#uncount(pulled.shift()?.taskIds ?? []);
  }

  /** The task is in no map from now on, but for those that have yet to be acknowledged. */
  hold(task: HeldTask, { connected }: { readonly connected: boolean }): void {
    this.#holds.get(task.taskId)?.cancel();
    const start = { after: this.#registrations, deadline: 0, drained: false, cancel: () => {} };
    const hold: Hold = { ...task, ...start, state: 'unannounced' };
    this.#holds.set(task.taskId, hold);
    if (connected) this.#wait(hold);
  }

  /** It is active again, or has ended. */
  forget(taskId: string): void {
    const hold = this.#holds.get(taskId);
    if (hold === undefined) return;
    hold.cancel();
    this.#holds.delete(taskId);
    this.#options.released(taskId, hold.nodeId);
  }

  acknowledged(nodeId: string, version: number): void {
    const pulled = this.#pulled.get(nodeId) ?? [];
    const done = pulled.filter((one) => one.version <= version);
    if (done.length === pulled.length) this.#pulled.delete(nodeId);
    else pulled.splice(0, done.length);
    for (const { taskIds } of done) this.#uncount(taskIds);
    this.#settled(nodeId);
  }

  stop(): void {
    for (const hold of this.#holds.values()) hold.cancel();
    for (const map of [this.#holds, this.#pulled, this.#counts, this.#fresh]) map.clear();
    this.#newestFresh = 0;
  }

  #wait(hold: Hold): void {
    const { clock } = this.#options;
    hold.state = 'waiting';
    if (hold.deadline === 0) hold.deadline = clock.monotonic() + withdrawalLimitMs;
    hold.cancel = clock.timer(hold.deadline - clock.monotonic(), () => this.#drain(hold));
    this.#look(hold);
  }

  #forgetPulled(nodeId: string): void {
    const pulled = this.#pulled.get(nodeId) ?? [];
    this.#pulled.delete(nodeId);
    for (const { taskIds } of pulled) this.#uncount(taskIds);
  }

  #uncount(taskIds: readonly string[]): void {
    for (const taskId of taskIds) {
      const left = (this.#counts.get(taskId) ?? 1) - 1;
      if (left > 0) {
        this.#counts.set(taskId, left);
        continue;
      }
      this.#counts.delete(taskId);
      const hold = this.#holds.get(taskId);
      if (hold !== undefined) this.#look(hold);
    }
  }

  /** Its maps are of this session, or it is gone. */
  #settled(nodeId: string): void {
    const at = this.#fresh.get(nodeId);
    this.#fresh.delete(nodeId);
    if (at !== this.#newestFresh) return;
    this.#newestFresh = Math.max(0, ...this.#fresh.values());
    if (this.#newestFresh === at) return;
    for (const hold of [...this.#holds.values()]) this.#look(hold);
  }

  #look(hold: Hold): void {
    if (hold.state === 'waiting' && !this.#isInMaps(hold)) this.#drain(hold);
  }

  #isInMaps({ taskId, after }: Hold): boolean {
    return this.#counts.has(taskId) || this.#newestFresh > after;
  }

  #drain(hold: Hold): void {
    hold.cancel();
    hold.state = 'draining';
    if (hold.drained || hold.drainMs === 0) this.forget(hold.taskId);
    else hold.cancel = this.#options.clock.timer(hold.drainMs, () => this.#endDrain(hold));
  }

  /** A node that returned meanwhile has the time that is left. */
  #endDrain(hold: Hold): void {
    hold.drained = true;
    if (this.#isInMaps(hold) && this.#options.clock.monotonic() < hold.deadline) this.#wait(hold);
    else this.forget(hold.taskId);
  }
}
