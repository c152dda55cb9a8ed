import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { Loop } from '../../lib/loop.ts';
import type { NetworkProblem, NodeDescription, NodeState, NodeStatus } from '../../model/objects.ts';
import type { Store, Transaction } from '../store/port.ts';

/** What is absent is to stay as it is. */
export interface NodeWish {
  readonly state?: NodeState;
  readonly message?: string;
  readonly addr?: string;
  readonly description?: NodeDescription;
  readonly networkProblems?: readonly NetworkProblem[];
}

const retryMs = 500;

/** What the store should say about nodes, written in batches and tried again until it does; a newer wish replaces an older one. */
export class NodeWriter {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #loop: Loop;
  readonly #wishes = new Map<string, NodeWish>();

  constructor(store: Store, { clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#loop = new Loop(
      clock,
      () => this.#flush(),
      (error) => log.error('writing node status', { error }),
    );
  }

  write(nodeId: string, wish: NodeWish): void {
    const before = this.#wishes.get(nodeId);
    this.#wishes.set(nodeId, { ...before, ...wish });
    this.#loop.trigger();
  }

  async stop(): Promise<void> {
    this.#wishes.clear();
    await this.#loop.stop();
  }

  async #flush(): Promise<void> {
    const taken = [...this.#wishes];
    if (taken.length === 0) return;
    let again = false;
    try {
      // The wish is read at build time: it may have been replaced since, and a rebuilt transaction must not write an old one.
      again =
        (await this.#store.batch(taken, (tx, [nodeId]) => apply(tx, nodeId, this.#wishes.get(nodeId)))).refused > 0;
    } catch (error) {
      again = true;
      this.#log.debug('writing node status', { reason: messageOf(error) });
    }
    if (again) {
      this.#clock.timer(retryMs, () => this.#loop.trigger());
      return;
    }
    for (const [nodeId, wish] of taken) if (this.#wishes.get(nodeId) === wish) this.#wishes.delete(nodeId);
    if (this.#wishes.size > 0) this.#loop.trigger();
  }
}

function apply(tx: Transaction, nodeId: string, wish: NodeWish | undefined): void {
  const node = tx.get('node', nodeId);
  if (node === undefined || wish === undefined) return;
  const { networkProblems: reported = [], ...rest } = node;
  const { state = node.status.state, message = node.status.message, addr = node.status.addr } = wish;
  const { description = node.description, networkProblems = reported } = wish;
  const since = node.status.state === state ? node.status.since : tx.now;
  const status = { state, message, addr, since };
  if (same([status, description, networkProblems], [node.status, node.description, reported])) return;
  tx.update('node', {
    ...rest,
    status,
    ...(description === undefined ? {} : { description }),
    ...(networkProblems.length === 0 ? {} : { networkProblems }),
  });
}

function same(
  [status, ...others]: readonly [NodeStatus, ...unknown[]],
  [storedStatus, ...stored]: readonly [NodeStatus, ...unknown[]],
): boolean {
  const { state, message, addr } = storedStatus;
  const sameStatus = status.state === state && status.message === message && status.addr === addr;
  return sameStatus && JSON.stringify(others) === JSON.stringify(stored);
}
