/** That nothing which the allocator gives has two owners, at any commit, and that nothing is given again too soon. */
import type { Network, Node, Service, Task } from '../../src/model/objects.ts';
import { isTerminal } from '../../src/model/task-state.ts';
import type { ChangeEvent } from '../../src/model/view.ts';
import type { World } from './world.ts';

/** Addresses rest for a minute; leaders disagree about the time by up to three seconds. */
const restMs = 55_000;

export class Addresses {
  readonly #world: World;
  readonly #owners = new Map<string, string>();
  /** When and by whom it was given back. */
  readonly #freed = new Map<string, { readonly owner: string; readonly at: number }>();

  constructor(world: World) {
    this.#world = world;
  }

  get size(): number {
    return this.#owners.size;
  }

  /** Of every commit once, in order. */
  committed(events: readonly ChangeEvent[]): void {
    // What one object gives back in a commit another may have in the same.
    for (const event of events) this.#release(event);
    for (const event of events) this.#take(event);
  }

  #release(event: ChangeEvent): void {
    const kept = new Set(holdings(event, 'after'));
    const owner = ownerOf(event);
    for (const thing of holdings(event, 'before')) {
      if (kept.has(thing) || this.#owners.get(thing) !== owner) continue;
      this.#owners.delete(thing);
      this.#freed.set(thing, { owner, at: this.#world.clock.monotonic() });
    }
  }

  #take(event: ChangeEvent): void {
    const owner = ownerOf(event);
    for (const thing of holdings(event, 'after')) {
      const other = this.#owners.get(thing);
      if (other !== undefined && other !== owner) this.#world.fail(`${thing} belongs to ${other} and to ${owner}`);
      if (other === undefined) this.#checkRest(thing, owner);
      this.#owners.set(thing, owner);
    }
  }

  #checkRest(thing: string, owner: string): void {
    const freed = this.#freed.get(thing);
    if (freed === undefined || freed.owner === owner || !thing.startsWith('address ')) return;
    const ago = this.#world.clock.monotonic() - freed.at;
    if (ago < restMs) this.#world.fail(`${thing} of ${freed.owner} is given to ${owner} after ${ago} ms`);
  }
}

function ownerOf({ table, before, after }: ChangeEvent): string {
  return `${table} ${(after ?? before)?.id ?? ''}`;
}

function holdings(event: ChangeEvent, which: 'before' | 'after'): readonly string[] {
  switch (event.table) {
    case 'task':
      return ofTask(event[which]);
    case 'service':
      return ofService(event[which]);
    case 'network':
      return ofNetwork(event[which]);
    case 'node':
      return ofNode(event[which]);
    default:
      return [];
  }
}

function ofTask(task: Task | undefined): readonly string[] {
  if (task === undefined || isTerminal(task.status.state)) return [];
  return (task.attachments ?? []).flatMap(({ networkId, addresses }) =>
    addresses.map((address) => `address ${networkId} ${address}`),
  );
}

function ofService(service: Service | undefined): readonly string[] {
  const { vips = [], ports = [] } = service?.endpoint ?? {};
  return [
    ...vips.flatMap(({ networkId, addresses }) => addresses.map((address) => `address ${networkId} ${address}`)),
    ...ports.flatMap(({ PublishMode, PublishedPort, Protocol = 'tcp' }) =>
      PublishMode === 'host' ? [] : [`port ${PublishedPort}/${Protocol}`],
    ),
  ];
}

function ofNetwork(network: Network | undefined): readonly string[] {
  const { vni = 0, subnets = [] } = network?.allocation ?? {};
  return [...(vni === 0 ? [] : [`vni ${vni}`]), ...subnets.map(({ subnet }) => `subnet ${subnet}`)];
}

function ofNode(node: Node | undefined): readonly string[] {
  return node?.network === undefined
    ? []
    : [`subnet ${node.network.gatewaySubnet}`, `mesh ${node.network.ingressAddress}`];
}
