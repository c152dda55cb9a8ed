/** Four hosts with three overlay networks, and services on them: what the tests of networks change and put right again. */
import { createSocket, type Socket } from 'node:dgram';
import packet from 'dns-packet';
import { containers, formCluster, nodeTable } from './cluster.ts';
import { type Host, Hosts, until } from './hosts.ts';
import { serveLocalImages, serveWhoami } from './images.ts';
import { expectMatrix } from './matrix.ts';
import { type Endpoint, Seen, truth } from './truth.ts';

export class Bed {
  readonly hosts: Hosts;
  /** Is asked, and is never cut off. */
  readonly first: Host;
  /** Service → how many tasks it should have. */
  readonly wanted = new Map<string, number>();
  readonly seen = new Seen();
  readonly #world: Socket;

  constructor(hosts: Hosts, world: Socket) {
    this.hosts = hosts;
    this.first = hosts.host(1);
    this.#world = world;
  }

  /** Three managers and a worker. Two of the networks have the same subnet. */
  static async up(): Promise<Bed> {
    const hosts = await Hosts.up({ prefix: 'tsx', network: '10.91.0', count: 4 });
    const bed = new Bed(hosts, await worldNames(hosts.outside));
    try {
      hosts.makeRoomForNeighbours();
      await serveLocalImages(hosts);
      await serveWhoami(hosts);
      await formCluster(hosts, 3);
      await bed.first.ok(['network', 'create', '-d', 'overlay', '--subnet', '10.77.0.0/24', 'front']);
      await bed.createTwin();
      await bed.first.ok(['network', 'create', '-d', 'overlay', '--ipv6', '--subnet', 'fd00:77::/64', 'back']);
    } catch (error) {
      await bed.down();
      throw error;
    }
    return bed;
  }

  async down(): Promise<void> {
    this.#world.close();
    await this.hosts.down();
  }

  async createTwin(): Promise<void> {
    const same = ['--subnet', '10.77.0.0/24', '-o', 'tscluster.shared-subnet=true'];
    await this.first.ok(['network', 'create', '-d', 'overlay', ...same, 'twin']);
  }

  async create(name: string, replicas: number, ...args: readonly string[]): Promise<void> {
    this.wanted.set(name, replicas);
    const common = ['--name', name, '--replicas', String(replicas), '--dns', this.hosts.outside];
    await this.first.ok(['service', 'create', '-d', ...common, ...args, 'whoami']);
  }

  async scale(name: string, replicas: number): Promise<void> {
    this.wanted.set(name, replicas);
    await this.first.ok(['service', 'scale', '-d', `${name}=${replicas}`]);
    await this.settled();
  }

  async remove(...names: readonly string[]): Promise<void> {
    for (const name of names) this.wanted.delete(name);
    await this.first.ok(['service', 'rm', ...names]);
  }

  /** Every service has the tasks it should have, on nodes that are ready. */
  async settled(ask = this.first): Promise<void> {
    let wrong: readonly string[] = [];
    const all = until('tasks as wanted', 40_000, async () => {
      const { endpoints } = await truth(ask);
      const count = (name: string) => endpoints.filter(({ service }) => service === name).length;
      wrong = [...this.wanted].flatMap(([name, replicas]) => (count(name) === replicas ? [] : [name]));
      return wrong.length === 0 ? true : undefined;
    });
    await all.catch(async (error: unknown) => {
      const tables = await Promise.all(wrong.map((name) => ask.ok(['service', 'ps', name, '--no-trunc'])));
      throw new Error(`${(error as Error).message}\n${tables.join('\n')}`);
    });
  }

  async allReady(ask = this.first): Promise<void> {
    await until('all nodes ready', 20_000, async () =>
      (await nodeTable(ask)).every((node) => node.status === 'Ready') ? true : undefined,
    );
  }

  async isDown(host: Host): Promise<void> {
    await until(`${host.name} is down`, 15_000, async () =>
      (await nodeTable(this.first)).find((node) => node.hostname === host.name)?.status === 'Down' ? true : undefined,
    );
  }

  matrix(alive: readonly Host[] = this.hosts.hosts, ask = this.first): Promise<number> {
    return expectMatrix({ hosts: this.hosts, ask, alive, seen: this.seen });
  }

  named(name: string): Host {
    const host = this.hosts.hosts.find((one) => one.name === name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }

  async tasksOf(service: string, ask = this.first): Promise<readonly Endpoint[]> {
    return (await truth(ask)).endpoints.filter((endpoint) => endpoint.service === service);
  }

  /** Where a container of the service is, for `nsenter`: the first one on a host that will do. */
  async inside(
    service: string,
    { on = () => true, ask = this.first }: { on?: (host: Host) => boolean; ask?: Host } = {},
  ): Promise<{ readonly place: string; readonly host: Host; readonly id: string; readonly pid: number }> {
    const task = (await this.tasksOf(service, ask)).find(({ node }) => on(this.named(node)));
    if (task === undefined) throw new Error(`no task of ${service}`);
    const host = this.named(task.node);
    const pid = (await containers(this.hosts, host)).get(task.taskId);
    if (pid === undefined) throw new Error(`no container of ${task.taskId}`);
    return { place: `/proc/${pid}/ns/net`, host, id: task.taskId, pid };
  }
}

/** The world's name server: knows one name. Containers ask it for what is not the cluster's. */
async function worldNames(address: string): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => {
    const { id, questions = [] } = packet.decode(message);
    const known = questions[0]?.name === 'world.test' && questions[0].type === 'A';
    const answer = {
      type: 'response' as const,
      ...(id === undefined ? {} : { id }),
      flags: known ? 0 : 3, // NXDOMAIN
      questions,
      ...(known ? { answers: [{ type: 'A' as const, name: 'world.test', data: '192.0.2.1' }] } : {}),
    };
    socket.send(packet.encode(answer), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(53, address, resolve));
  return socket;
}
