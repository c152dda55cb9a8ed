/** Asking a cluster of test hosts the questions that the demo and the end-to-end tests both ask. */
import { execute, type Host, type Hosts, until } from './hosts.ts';

/** `service create` of three nginx tasks that answer on port 8080 of their hosts. */
export const createWeb = [
  ...['service', 'create', '-d', '--name', 'web', '--replicas', '3'],
  ...['--publish', 'mode=host,target=80,published=8080', 'nginx'],
];

export interface TaskRow {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly desired: string;
  readonly state: string;
  readonly error: string;
}

/** Makes host 1 a cluster and joins `nodes` hosts in all: `managers` become managers, the rest workers. Waits until all are ready. */
export async function formCluster(hosts: Hosts, managers: number, nodes = hosts.hosts.length): Promise<void> {
  const first = hosts.host(1);
  const members = hosts.hosts.slice(0, nodes);
  await Promise.all(members.map((host) => host.start()));
  await first.ok(['init']);
  const tokens = {
    manager: (await first.ok(['join-token', 'manager', '-q'])).trim(),
    worker: (await first.ok(['join-token', 'worker', '-q'])).trim(),
  };
  await Promise.all(
    members
      .slice(1)
      .map((host) =>
        host.ok(['join', '--token', host.index <= managers ? tokens.manager : tokens.worker, `${first.address}:2377`]),
      ),
  );
  await until('all nodes ready', 20_000, async () => {
    const table = await nodeTable(first);
    const ready = table.filter((node) => node.status === 'Ready').length === nodes;
    const voters = table.filter((node) => ['Leader', 'Reachable'].includes(node.manager)).length === managers;
    return ready && voters ? true : undefined;
  });
}

export async function nodeTable(
  host: Host,
): Promise<readonly { id: string; hostname: string; status: string; availability: string; manager: string }[]> {
  const text = await host.ok([
    'node',
    'ls',
    '--format',
    '{{.ID}}|{{.Hostname}}|{{.Status}}|{{.Availability}}|{{.ManagerStatus}}',
  ]);
  return rows(text).map(([id = '', hostname = '', status = '', availability = '', manager = '']) => ({
    id,
    hostname,
    status,
    availability,
    manager,
  }));
}

export async function taskTable(
  host: Host,
  service: string,
  filter: readonly string[] = [],
): Promise<readonly TaskRow[]> {
  const filters = filter.flatMap((one) => ['--filter', one]);
  const format = '{{.ID}}|{{.Name}}|{{.Node}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}}';
  const text = await host.ok(['service', 'ps', service, '--no-trunc', ...filters, '--format', format]);
  return rows(text).map(([id = '', name = '', node = '', desired = '', state = '', error = '']) => ({
    id,
    name: slotName(name, id),
    node,
    desired,
    state,
    error,
  }));
}

/** `web.1` of `\\_ web.1.<task id>`. */
function slotName(name: string, id: string): string {
  return name.replace(/^ *\\_ /, '').replace(`.${id}`, '');
}

export async function leaderOf(hosts: Hosts, ask: Host): Promise<Host> {
  const leader = (await nodeTable(ask)).find((node) => node.manager === 'Leader');
  const host = hosts.hosts.find((candidate) => candidate.name === leader?.hostname);
  if (host === undefined) throw new Error('no leader shown by node ls');
  return host;
}

/** Tasks that should run and do, as far as anybody knows: not those of a node that is down. */
export async function running(ask: Host, service: string): Promise<readonly TaskRow[]> {
  const table = await taskTable(ask, service, ['desired-state=running']);
  const isKnown = (task: TaskRow) => !/^"?node .* is down/.test(task.error);
  return table.filter((task) => task.desired === 'Running' && task.state.startsWith('Running') && isKnown(task));
}

/** Running container processes of one host as containerd itself reports them: id → pid. */
export async function containers(hosts: Hosts, host: Host): Promise<ReadonlyMap<string, number>> {
  const result = await execute('ctr', [
    '--address',
    hosts.containerdSocket,
    '--namespace',
    host.containerdNamespace,
    'tasks',
    'ls',
  ]);
  const found = [...result.stdout.matchAll(/^(\S+)\s+(\d+)\s+RUNNING$/gm)].map(
    ([, id, pid]) => [id ?? '', Number(pid)] as const,
  );
  return new Map(found);
}

/** `host → container ids`, as text that can be compared. */
export async function containerMap(hosts: Hosts): Promise<string> {
  const maps = await Promise.all(
    hosts.hosts.map(
      async (host) =>
        `${host.name}: ${[...(await containers(hosts, host)).entries()]
          .map(([id, pid]) => `${id}/${pid}`)
          .sort()
          .join(' ')}`,
    ),
  );
  return maps.join('\n');
}

/** The body of `http://address:port/`, or undefined when nobody answers in 500 ms. */
export async function page(address: string, port: number): Promise<string | undefined> {
  try {
    const answer = await fetch(`http://${address}:${port}/`, {
      signal: AbortSignal.timeout(500),
      headers: { connection: 'close' },
    });
    return answer.ok ? await answer.text() : undefined;
  } catch {
    return undefined;
  }
}

function rows(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('|'));
}
