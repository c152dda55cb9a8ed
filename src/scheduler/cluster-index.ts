/** All nodes with what their tasks hold, kept up to date by change events. */
import type { Node, Task } from '../model/objects.ts';
import { holds, NodeInfo } from './node-info.ts';

export class ClusterIndex {
  readonly #infos = new Map<string, NodeInfo>();
  /** Tasks whose node is not known (yet), by node. */
  readonly #strays = new Map<string, Map<string, Task>>();

  infos(): Iterable<NodeInfo> {
    return this.#infos.values();
  }

  get(nodeId: string): NodeInfo | undefined {
    return this.#infos.get(nodeId);
  }

  putNode(node: Node): void {
    const info = this.#infos.get(node.id);
    if (info !== undefined) {
      info.node = node;
      return;
    }
    const added = new NodeInfo(node);
    for (const task of this.#strays.get(node.id)?.values() ?? []) added.put(task);
    this.#strays.delete(node.id);
    this.#infos.set(node.id, added);
  }

  removeNode(nodeId: string): void {
    this.#infos.delete(nodeId);
  }

  changeTask(before: Task | undefined, after: Task | undefined): void {
    if (before !== undefined && before.nodeId !== '') this.release(before.nodeId, before.id);
    if (after === undefined || !holds(after)) return;
    const info = this.#infos.get(after.nodeId);
    if (info !== undefined) return info.put(after);
    const strays = this.#strays.get(after.nodeId) ?? new Map<string, Task>();
    strays.set(after.id, after);
    this.#strays.set(after.nodeId, strays);
  }

  release(nodeId: string, taskId: string): void {
    this.#infos.get(nodeId)?.drop(taskId);
    const strays = this.#strays.get(nodeId);
    strays?.delete(taskId);
    if (strays?.size === 0) this.#strays.delete(nodeId);
  }
}
