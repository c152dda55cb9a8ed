import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ClusterError } from '../../lib/errors.ts';
import { formatBlock, overlaps, parseBlock } from '../../model/ip.ts';
import type { NetworkAddresses } from '../../model/objects.ts';
import { collide, portKey } from '../../model/ports.ts';
import type { EndpointSpec, PortConfig } from '../../model/spec.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { Change } from '../../model/view.ts';
import { nginx, World } from '../orchestrator/testing/world.ts';
import { restAddresses, restPlace } from '../store/resting.ts';
import { Ring } from './ring.ts';
import { SubnetBook } from './subnets.ts';

const networkIds = ['a', 'b', 'c'];
const serviceIds = ['s1', 's2', 's3', 's4'];
const restMs = 60_000;

/** Consensus that now and then does not answer: the entry is lost, or it is applied later, but before anything proposed after it. */
class Shaky {
  readonly #world: World;
  /** What becomes of the next proposals. */
  fate: ('lost' | 'late')[] = [];
  #late: { readonly entry: Uint8Array; readonly version: number }[] = [];
  #last = 0;

  constructor(world: World) {
    this.#world = world;
    world.store.setProposer({ propose: (changes, now) => this.#propose(changes, now) });
  }

  /** What was under way when a leader fell may have been taken over by the next one. */
  flush(): void {
    for (const { entry, version } of this.#late.splice(0)) this.#world.store.apply(version, entry);
  }

  async #propose(changes: readonly Change[], now: number): Promise<{ version: number; applied: boolean }> {
    const entry = this.#world.store.encode(changes, now);
    this.#last += 1;
    const version = this.#last;
    const fate = this.fate.shift();
    if (fate === 'late') this.#late.push({ entry, version });
    if (fate !== undefined) throw new ClusterError('deadline', 'no answer');
    this.flush();
    return { version, applied: this.#world.store.apply(version, entry) };
  }
}

/** Watches every commit: who has an address, since when nobody had it, and what is given to two at a time. */
class Witness {
  readonly #world: World;
  readonly #last = new Map<string, { owner: string; until: number }>();
  readonly errors: string[] = [];

  constructor(world: World) {
    this.#world = world;
    world.check = () => this.look();
  }

  look(): void {
    const now = this.#world.clock.time;
    const owners = new Map<string, string>();
    for (const { owner, held } of this.#held()) {
      for (const address of held.addresses) {
        const key = `${held.networkId}/${address}`;
        const other = owners.get(key);
        if (other !== undefined) this.errors.push(`${key} is ${other}'s and ${owner}'s`);
        const before = this.#last.get(key);
        if (before !== undefined && before.owner !== owner && now < before.until + restMs) {
          this.errors.push(`${key} went from ${before.owner} to ${owner} after ${now - before.until} ms`);
        }
        owners.set(key, owner);
      }
    }
    for (const [key, owner] of owners) this.#last.set(key, { owner, until: now });
    this.#lookAtNetworks();
    this.#lookAtPorts();
  }

  *#held(): Iterable<{ owner: string; held: NetworkAddresses }> {
    const { view } = this.#world.store;
    for (const { id, network } of view.list('node')) {
      if (network === undefined) continue;
      yield { owner: `node ${id}`, held: { networkId: 'places', addresses: [network.gatewaySubnet] } };
      yield { owner: `node ${id}`, held: { networkId: 'ingress', addresses: [network.ingressAddress] } };
    }
    for (const { id, endpoint } of view.list('service')) {
      for (const held of endpoint?.vips ?? []) yield { owner: `service ${id}`, held };
    }
    for (const { id, status, attachments = [] } of view.list('task')) {
      if (!isTerminal(status.state)) for (const held of attachments) yield { owner: `task ${id}`, held };
    }
  }

  #lookAtNetworks(): void {
    const { view } = this.#world.store;
    const allocations = Array.from(view.list('network'), ({ allocation }) => allocation);
    const given = allocations.filter((allocation) => allocation !== undefined);
    const blocks = given.flatMap(({ subnets }) => subnets.map(({ subnet }) => parseBlock(subnet)));
    for (const [at, one] of blocks.entries()) {
      const twice = blocks
        .slice(at + 1)
        .find((other) => one !== undefined && other !== undefined && overlaps(one, other));
      if (twice !== undefined) this.errors.push(`${formatBlock(twice)} is given twice`);
    }
    if (new Set(given.map(({ vni }) => vni)).size !== given.length) this.errors.push('a VXLAN id is given twice');
    const places = Array.from(view.list('node'), ({ network }) => network?.gatewaySubnet).filter(Boolean);
    if (new Set(places).size !== places.length) this.errors.push('a gateway subnet is given twice');
  }

  #lookAtPorts(): void {
    const services = [...this.#world.store.view.list('service')];
    for (const [at, one] of services.entries()) {
      for (const other of services.slice(at + 1)) {
        for (const port of one.endpoint?.ports ?? []) {
          const same = (given: PortConfig) =>
            portKey(given, given.PublishedPort ?? 0) === portKey(port, port.PublishedPort ?? 0) && collide(given, port);
          if ((other.endpoint?.ports ?? []).some(same)) this.errors.push(`port ${port.PublishedPort} is given twice`);
        }
      }
    }
  }
}

interface Run {
  readonly world: World;
  readonly shaky: Shaky;
}

function act(name: string, run: (run: Run) => Promise<void>): { run: typeof run; toString(): string } {
  return { run, toString: () => name };
}

const service = fc.constantFrom(...serviceIds);
const endpoint: fc.Arbitrary<EndpointSpec> = fc.oneof(
  fc.constant({}),
  fc.constant({ Mode: 'dnsrr' }),
  fc
    .subarray([0, 80, 81, 30_000])
    .map((chosen) => ({ Ports: chosen.map((PublishedPort) => ({ TargetPort: 80, PublishedPort })) })),
);

const event = fc.oneof(
  fc
    .record({ id: service, networks: fc.subarray(networkIds), replicas: fc.nat(5), image: fc.nat(1), endpoint })
    .map((wish) => act(`service ${JSON.stringify(wish)}`, (run) => put(run, wish))),
  service.map((id) => act(`remove ${id}`, (run) => remove(run, id))),
  fc.constantFrom(...networkIds).map((id) => act(`remove network ${id}`, (run) => removeNetwork(run, id))),
  fc.constantFrom(...networkIds).map((id) => act(`network ${id}`, (run) => makeNetwork(run, id))),
  fc.nat(50).map((at) => act(`fail ${at}`, (run) => fail(run, at))),
  fc.constantFrom('n1', 'n2').map((id) => act(`${id} down`, ({ world }) => world.node(id, { state: 'down' }))),
  fc.constantFrom('n1', 'n2').map((id) => act(`${id} up`, ({ world }) => world.node(id, { state: 'ready' }))),
  fc.constant(act('node comes', ({ world }) => world.node(`m${world.commits}`))),
  fc.nat(9).map((at) => act(`node goes ${at}`, (run) => removeNode(run, at))),
  fc.tuple(fc.nat(9), fc.integer({ min: 0, max: 90_000 })).map(([at, ms]) =>
    act(`node goes ${at}, another comes after ${ms}`, async (run) => {
      await run.world.node(`m${run.world.commits}`);
      await removeNode(run, at);
      if (ms % 2 === 1) await newLeader(run);
      await run.world.advance(ms);
      await run.world.node(`m${run.world.commits}`);
    }),
  ),
  fc.integer({ min: 0, max: 90_000 }).map((ms) => act(`wait ${ms}`, ({ world }) => world.advance(ms))),
  fc.constant(act('new leader', newLeader)),
  fc
    .array(fc.constantFrom('lost' as const, 'late' as const), { minLength: 1, maxLength: 4 })
    .map((fate) => act(`next writes are ${fate.join()}`, async ({ shaky }) => void shaky.fate.push(...fate))),
);

async function newLeader({ world, shaky }: Run): Promise<void> {
  await world.stop();
  shaky.fate = [];
  shaky.flush();
  await world.start();
}

/** A client's call, which is told when there is no answer. */
async function call(world: World, work: Promise<void>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!(error instanceof ClusterError)) throw error;
  });
  await world.settle();
}

async function makeNetwork({ world }: Run, id: string): Promise<void> {
  // Smaller than what may be wanted on it.
  const given = { a: '10.9.0.0/28', b: '10.9.1.0/29' }[id];
  const IPAM = given === undefined ? {} : { IPAM: { Config: [{ Subnet: given }] } };
  const spec = { Name: id, Labels: {}, Driver: 'overlay', EnableIPv6: id === 'c', ...IPAM };
  const work = world.store.transact((tx) => {
    if (tx.networkByName(id) === undefined) tx.create('network', { id: `${id}-${world.commits}`, spec });
  });
  await call(world, work);
}

async function removeNetwork({ world }: Run, name: string): Promise<void> {
  const work = world.store.transact((tx) => {
    const id = tx.networkByName(name)?.id ?? '';
    if ([...tx.servicesUsingNetwork(id)].length === 0) tx.remove('network', id);
  });
  await call(world, work);
}

interface Wish {
  readonly id: string;
  readonly networks: readonly string[];
  readonly replicas: number;
  readonly image: number;
  readonly endpoint: EndpointSpec;
}

async function put({ world }: Run, { id, networks, replicas, image, endpoint: EndpointSpec }: Wish): Promise<void> {
  const ids = networks.flatMap((name) => world.store.view.networkByName(name)?.id ?? []);
  const TaskTemplate = nginx({ Networks: ids.map((Target) => ({ Target })) }, `nginx:${image}`);
  await call(world, world.spec(id, { TaskTemplate, Mode: { Replicated: { Replicas: replicas } }, EndpointSpec }));
}

async function remove({ world }: Run, id: string): Promise<void> {
  const work = world.store.transact((tx) => {
    restAddresses(tx, tx.get('service', id)?.endpoint?.vips ?? []);
    tx.remove('service', id);
  });
  await call(world, work);
}

/** As the API does; those that the tasks need stay. */
async function removeNode({ world }: Run, at: number): Promise<void> {
  const others = Array.from(world.store.view.list('node'), ({ id }) => id).filter((id) => id.startsWith('m'));
  const id = others[at % Math.max(1, others.length)];
  if (id === undefined) return;
  const work = world.store.transact((tx) => {
    restPlace(tx, id);
    tx.remove('node', id);
  });
  await call(world, work);
}

async function fail({ world }: Run, at: number): Promise<void> {
  const running = serviceIds.flatMap((id) => world.running(id));
  const task = running[at % Math.max(1, running.length)];
  if (task !== undefined) await call(world, world.report(task.id, TaskState.failed));
}

/** An address of every task and service, and nothing that says why not, once there is room. */
async function heal(run: Run): Promise<void> {
  const { world } = run;
  run.shaky.fate = [];
  for (const node of [...world.store.view.list('node')]) await world.node(node.id, { state: 'ready' });
  for (const [at, id] of serviceIds.entries()) {
    if (at > 1) await remove(run, id);
    else if (world.get(id) !== undefined) {
      const networks = networkIds.filter((name) => world.store.view.networkByName(name) !== undefined);
      await put(run, { id, networks, replicas: 1, image: 1, endpoint: { Ports: [{ TargetPort: 80 }] } });
    }
  }
  await world.advance(400_000);
}

test('whatever happens: no address has two owners or is used again too soon, none is lost, and everything is given in the end', async () => {
  const history = fc.array(event, { minLength: 5, maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(history, async (events) => {
      const world = new World();
      const shaky = new Shaky(world);
      const witness = new Witness(world);
      const run = { world, shaky };
      await world.cluster(5);
      for (const id of ['n1', 'n2']) await world.node(id);
      await world.start();
      for (const id of networkIds) await makeNetwork(run, id);
      for (const { run: step } of events) {
        await step(run).catch((error: unknown) => {
          if (!(error instanceof ClusterError)) throw error;
        });
        expect(witness.errors).toEqual([]);
      }
      await heal(run);
      expect(witness.errors).toEqual([]);
      for (const id of serviceIds.slice(0, 2)) {
        const found = world.get(id);
        if (found === undefined) continue;
        expect(found.endpointError).toBeUndefined();
        expect(found.endpoint?.vips.map((vip) => vip.networkId)).toEqual(
          found.spec.TaskTemplate.Networks?.map((one) => one.Target),
        );
        expect(world.running(id)).toHaveLength(1);
      }
      await assertNoLeak(run);
      const before = world.commits;
      await newLeader(run);
      await world.advance(200_000);
      expect(world.commits).toBe(before);
      await world.stop();
      expect(world.clock.timers).toBe(0);
    }),
    { numRuns: Number(process.env['RUNS'] ?? 120), seed: 7 },
  );
}, 120_000);

/** When nothing is left, a network can be filled to its last address. */
async function assertNoLeak(run: Run): Promise<void> {
  const { world } = run;
  for (const id of serviceIds) await remove(run, id);
  await world.advance(130_000);
  expect(world.tasks()).toEqual([]);
  await makeNetwork(run, 'b');
  await put(run, { id: 's1', networks: ['b'], replicas: 4, image: 1, endpoint: {} });
  expect(world.running('s1')).toHaveLength(4);
  await put(run, { id: 's1', networks: ['b'], replicas: 5, image: 1, endpoint: {} });
  expect(world.running('s1')).toHaveLength(4);
  await put(run, { id: 's1', networks: ['b'], replicas: 4, image: 1, endpoint: {} });
}

test('a ring gives every address once before it gives one again, and none that is excluded', () => {
  const subnet = { subnet: '10.0.0.0/27', gateway: '10.0.0.5', range: '10.0.0.0/28', reserved: ['10.0.0.7'] };
  const usable = [1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15].map((at) => `10.0.0.${at}/27`);
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 60 }), (steps) => {
      const ring = new Ring(subnet);
      const held: string[] = [];
      const order: string[] = [];
      for (const step of steps) {
        const [old] = step < held.length ? held.splice(step, 1) : [];
        if (old !== undefined) {
          expect(ring.release(old)).toBe(true);
          continue;
        }
        const address = ring.next();
        expect(address === undefined).toBe(held.length === usable.length);
        if (address === undefined) continue;
        expect(usable).toContain(address);
        expect(held).not.toContain(address);
        ring.take(address);
        ring.advance(address);
        held.push(address);
        order.push(address);
      }
      expect(new Set(order.slice(0, usable.length - held.length)).size).toBe(
        Math.min(order.length, usable.length - held.length),
      );
      expect(ring.free).toBe(usable.length - held.length);
    }),
    { seed: 7 },
  );
});

test('the first free block of a pool is the one that a look at all of them finds, also where some are shared', () => {
  const pool = { family: 4 as const, base: 0n, prefix: 24, size: 256n };
  const block = fc
    .record({ prefix: fc.integer({ min: 26, max: 32 }), at: fc.nat(255) })
    .map(({ prefix, at }) => parseBlock(`0.0.0.${at}/${prefix}`))
    .filter((one) => one !== undefined);
  const step = fc.oneof(
    block.map((one) => ({ add: one })),
    fc.nat(10).map((at) => ({ remove: at })),
  );
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 30, size: 'max' }),
      fc.integer({ min: 26, max: 32 }),
      block,
      fc.infiniteStream(fc.nat()),
      (steps, prefix, reserved, order) => {
        const book = new SubnetBook();
        const taken: { owner: string; block: typeof reserved }[] = [];
        for (const [at, one] of steps.entries()) {
          if ('add' in one) {
            const isFree = !taken.some((other) => overlaps(other.block, one.add));
            expect(book.overlapping(one.add) === undefined).toBe(isFree);
            taken.push({ owner: `o${(at * 7) % 30}`, block: one.add });
            for (let time = 0; time <= at % 2; time++) book.add(`o${(at * 7) % 30}`, one.add);
          } else {
            const [gone] = taken.splice(one.remove, 1);
            if (gone !== undefined) book.remove(gone.owner);
          }
          const found = book.firstFree(pool, prefix, [reserved]);
          expect(found === undefined ? undefined : formatBlock(found)).toBe(naive(prefix));
        }
        // One that is made from the store knows the same, and names the same.
        const rebuilt = new SubnetBook();
        const others = [...taken];
        while (others.length > 0) {
          const [next] = others.splice((order.next().value ?? 0) % others.length, 1);
          if (next !== undefined) rebuilt.add(next.owner, next.block);
        }
        for (let at = 0; at < 256; at++) {
          const one = parseBlock(`0.0.0.${at}/32`);
          if (one !== undefined) expect(book.overlapping(one)).toBe(rebuilt.overlapping(one));
        }
        function naive(length: number): string | undefined {
          const size = 2 ** (32 - length);
          for (let base = 0; base < 256; base += size) {
            const candidate = parseBlock(`0.0.0.${base}/${length}`);
            if (candidate === undefined) continue;
            const isFree = ![...taken.map((one) => one.block), reserved].some((one) => overlaps(one, candidate));
            if (isFree) return `0.0.0.${base}/${length}`;
          }
          return undefined;
        }
      },
    ),
    { seed: 7 },
  );
});
