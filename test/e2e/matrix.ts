/**
 * Who can reach whom, as the store implies it, held against what every container, every host and the world outside really get:
 * names, virtual addresses, tasks' own addresses, published ports, and what must not be reachable.
 */
import { request } from 'node:http';
import { fileURLToPath } from 'node:url';
import { containers } from './cluster.ts';
import { execute, type Host, type Hosts } from './hosts.ts';

const probeScript = fileURLToPath(new URL('./probe.mjs', import.meta.url));

export type Probe =
  | { readonly kind: 'http' | 'udp'; readonly host: string; readonly port: number }
  | { readonly kind: 'dns'; readonly name: string; readonly type: 'A' | 'AAAA' | 'PTR' };
type Answer = string | readonly string[];

interface Expectation {
  readonly probe: Probe;
  readonly expected: string;
  readonly holds: (answer: Answer) => boolean;
}

interface Endpoint {
  readonly taskId: string;
  readonly service: string;
  readonly node: string;
  /** Network id → addresses. */
  readonly addresses: ReadonlyMap<string, readonly string[]>;
}

interface Service {
  readonly name: string;
  readonly dnsrr: boolean;
  readonly vips: ReadonlyMap<string, readonly string[]>;
  readonly ports: readonly { readonly protocol: string; readonly published: number; readonly source: string }[];
  /** Network id → other names there. */
  readonly aliases: ReadonlyMap<string, readonly string[]>;
}

/** What the store says, as the API shows it. */
export interface Truth {
  readonly services: readonly Service[];
  readonly endpoints: readonly Endpoint[];
}

/** Fixed by the image: nginx on 80 answers `HOSTNAME CLIENT`, socat on 9000/udp likewise. */
export const httpPort = 80;
export const udpPort = 9000;

export function get<T>(host: Host, path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: host.socket, path }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () => resolve(JSON.parse(body) as T));
    });
    call.on('error', reject);
    call.end();
  });
}

interface ApiService {
  readonly Spec: {
    readonly Name: string;
    readonly TaskTemplate: { readonly Networks?: readonly { readonly Target: string; readonly Aliases?: string[] }[] };
  };
  readonly ID: string;
  readonly Endpoint: {
    readonly Spec: { readonly Mode: string };
    readonly VirtualIPs?: readonly { readonly NetworkID: string; readonly Addr: string }[];
    readonly Ports?: readonly {
      readonly Protocol: string;
      readonly PublishedPort: number;
      readonly PublishMode: string;
      readonly Source?: string;
    }[];
  };
}

interface ApiTask {
  readonly ID: string;
  readonly ServiceID: string;
  readonly NodeID: string;
  readonly DesiredState: string;
  readonly Status: { readonly State: string };
  readonly NetworksAttachments?: readonly { readonly Network: { readonly ID: string }; readonly Addresses: string[] }[];
}

interface ApiNode {
  readonly ID: string;
  readonly Description: { readonly Hostname: string };
  readonly Status: { readonly State: string };
}

export async function truth(host: Host): Promise<Truth> {
  const [services, tasks, nodes] = await Promise.all([
    get<ApiService[]>(host, '/services'),
    get<ApiTask[]>(host, '/tasks'),
    get<ApiNode[]>(host, '/nodes'),
  ]);
  const nameOf = new Map(services.map((service) => [service.ID, service.Spec.Name]));
  const up = new Map(
    nodes.filter((node) => node.Status.State === 'ready').map((node) => [node.ID, node.Description.Hostname]),
  );
  return {
    services: services.map(readService),
    endpoints: tasks.flatMap((task) => {
      const service = nameOf.get(task.ServiceID);
      const node = up.get(task.NodeID);
      const active = task.Status.State === 'running' && task.DesiredState === 'running';
      if (!active || service === undefined || node === undefined) return [];
      const attachments = task.NetworksAttachments ?? [];
      const addresses = new Map(attachments.map((one) => [one.Network.ID, one.Addresses.map(plain)]));
      return [{ taskId: task.ID, service, node, addresses }];
    }),
  };
}

function readService({ Spec, Endpoint }: ApiService): Service {
  const vips = new Map<string, string[]>();
  for (const { NetworkID, Addr } of Endpoint.VirtualIPs ?? [])
    vips.set(NetworkID, [...(vips.get(NetworkID) ?? []), plain(Addr)]);
  return {
    name: Spec.Name,
    dnsrr: Endpoint.Spec.Mode === 'dnsrr',
    vips,
    ports: (Endpoint.Ports ?? [])
      .filter((port) => port.PublishMode === 'ingress')
      .map((port) => ({
        protocol: port.Protocol,
        published: port.PublishedPort,
        source: port.Source ?? 'preserve',
      })),
    aliases: new Map((Spec.TaskTemplate.Networks ?? []).map(({ Target, Aliases }) => [Target, Aliases ?? []])),
  };
}

const plain = (address: string) => address.split('/')[0] ?? address;

/** What one container must see. */
function fromContainer(self: Endpoint, { services, endpoints }: Truth): readonly Expectation[] {
  const found: Expectation[] = [];
  for (const service of services) {
    const own = endpoints.filter((endpoint) => endpoint.service === service.name);
    const shared = [...self.addresses.keys()].filter(
      (network) => service.vips.has(network) || own.some((endpoint) => endpoint.addresses.has(network)),
    );
    if (shared.length === 0) found.push(unknown(service.name), unknown(`tasks.${service.name}`));
    for (const network of shared) found.push(...onNetwork(service, own, { network, only: shared.length === 1 }));
  }
  return found;
}

function onNetwork(
  service: Service,
  own: readonly Endpoint[],
  { network, only }: { readonly network: string; readonly only: boolean },
): readonly Expectation[] {
  const tasks = own.flatMap((endpoint) => endpoint.addresses.get(network) ?? []);
  const vips = service.dnsrr ? tasks : (service.vips.get(network) ?? []);
  const hosts = new Set(own.map(({ taskId }) => taskId.slice(0, 12)));
  const found: Expectation[] = [];
  for (const family of ['A', 'AAAA'] as const) {
    const of = (addresses: readonly string[]) => addresses.filter((one) => one.includes(':') === (family === 'AAAA'));
    const names = [service.name, ...(service.aliases.get(network) ?? [])];
    if (only) for (const name of names) found.push(resolves(name, family, of(vips)));
    if (only) found.push(resolves(`tasks.${service.name}`, family, of(tasks)));
  }
  for (const vip of service.dnsrr ? [] : vips) found.push(...answersOne(vip, hosts));
  for (const endpoint of own)
    for (const address of endpoint.addresses.get(network) ?? [])
      found.push(...answersOne(address, new Set([endpoint.taskId.slice(0, 12)])));
  return found;
}

function answersOne(host: string, hostnames: ReadonlySet<string>): readonly Expectation[] {
  const none = hostnames.size === 0;
  const expected = none ? 'nobody' : `one of ${[...hostnames].join(' ')}`;
  const holds = (answer: Answer) =>
    none ? /^[A-Z]+$/.test(String(answer)) : hostnames.has(String(answer).split(' ')[0] ?? '');
  return [
    { probe: { kind: 'http', host, port: httpPort }, expected, holds },
    { probe: { kind: 'udp', host, port: udpPort }, expected, holds },
  ];
}

function resolves(name: string, type: 'A' | 'AAAA', addresses: readonly string[]): Expectation {
  const expected = [...addresses].sort().join(' ');
  const holds = (answer: Answer) => Array.isArray(answer) && [...(answer as string[])].sort().join(' ') === expected;
  return { probe: { kind: 'dns', name, type }, expected: expected || 'no address', holds };
}

function unknown(name: string): Expectation {
  const holds = (answer: Answer) => typeof answer === 'string' && ['NXDOMAIN', 'SERVFAIL', 'REFUSED'].includes(answer);
  return { probe: { kind: 'dns', name, type: 'A' }, expected: 'not found', holds };
}

/** Published ports through `addresses`; `client` is who the container must see, where that can be said. */
function published(
  { services, endpoints }: Truth,
  addresses: readonly string[],
  client?: string,
): readonly Expectation[] {
  return services.flatMap((service) =>
    service.ports.flatMap(({ protocol, published: port, source }) => {
      const hostnames = new Set(
        endpoints.filter((endpoint) => endpoint.service === service.name).map(({ taskId }) => taskId.slice(0, 12)),
      );
      const seen = source === 'preserve' ? client : undefined;
      const expected = `one of ${[...hostnames].join(' ')}${seen === undefined ? '' : `, client ${seen}`}`;
      const holds = (answer: Answer) => {
        const [hostname = '', from = ''] = String(answer).split(' ');
        return hostnames.has(hostname) && (seen === undefined || from.replace('::ffff:', '') === seen);
      };
      const kind = protocol === 'udp' ? ('udp' as const) : ('http' as const);
      return addresses.map((host) => ({ probe: { kind, host, port }, expected, holds }));
    }),
  );
}

/** Asks all probes from one place: `place` is what `nsenter` gets, absent for this process's own namespace. */
export async function probe(place: string | undefined, probes: readonly Probe[]): Promise<readonly Answer[]> {
  const node = [process.execPath, probeScript];
  const [program = '', ...args] = place === undefined ? node : ['nsenter', `--net=${place}`, ...node];
  const { code, stdout, stderr } = await execute(program, args, { input: JSON.stringify(probes), timeoutMs: 30_000 });
  if (code !== 0) throw new Error(`probe in ${place ?? 'this namespace'}: ${stderr}`);
  return JSON.parse(stdout) as Answer[];
}

async function judge(
  where: string,
  place: string | undefined,
  all: readonly Expectation[],
): Promise<readonly string[]> {
  if (all.length === 0) return [];
  const answers = await probe(
    place,
    all.map((one) => one.probe),
  );
  return all.flatMap((one, at) => {
    const answer = answers[at] ?? 'nothing';
    const asked =
      one.probe.kind === 'dns' ? `${one.probe.type} ${one.probe.name}` : `${one.probe.host}:${one.probe.port}`;
    return one.holds(answer)
      ? []
      : [`${where}: ${one.probe.kind} ${asked}: expected ${one.expected}, got ${JSON.stringify(answer)}`];
  });
}

/** Everything once; gives what is wrong. `alive`: the hosts that are to be asked. */
export async function mismatches(hosts: Hosts, ask: Host, alive: readonly Host[]): Promise<readonly string[]> {
  const now = await truth(ask);
  const hostAddresses = alive.map((host) => host.address);
  const pids = new Map<string, number>();
  for (const host of alive) for (const [id, pid] of await containers(hosts, host)) pids.set(id, pid);
  const inside = now.endpoints.map((endpoint) => async () => {
    const pid = pids.get(endpoint.taskId);
    if (pid === undefined) return [`${endpoint.taskId} of ${endpoint.service} has no container`];
    const all = [...fromContainer(endpoint, now), ...published(now, hostAddresses)];
    return judge(`${endpoint.service} on ${endpoint.node}`, `/proc/${pid}/ns/net`, all);
  });
  const onHosts = alive.map(
    (host) => () => judge(host.name, `/run/netns/${host.namespace}`, published(now, ['127.0.0.1', ...hostAddresses])),
  );
  const outside = () => judge('outside', undefined, published(now, hostAddresses, hosts.outside));
  return someAtATime([...inside, ...onHosts, outside]);
}

const placesAtATime = 4;

async function someAtATime(works: readonly (() => Promise<readonly string[]>)[]): Promise<readonly string[]> {
  const waiting = [...works];
  const found: string[] = [];
  const lane = async () => {
    for (let work = waiting.shift(); work !== undefined; work = waiting.shift()) found.push(...(await work()));
  };
  await Promise.all(Array.from({ length: placesAtATime }, lane));
  return found;
}

/** How long after things have settled something stale may still be seen. */
const staleMaxMs = 2_000;

/** Throws what is still wrong in a round that began when everything must have come right. */
export async function expectMatrix(hosts: Hosts, ask: Host, alive: readonly Host[] = hosts.hosts): Promise<number> {
  const settled = performance.now();
  for (;;) {
    const began = performance.now() - settled;
    const wrong = await mismatches(hosts, ask, alive);
    if (wrong.length === 0) return began;
    if (began > staleMaxMs) throw new Error(`after ${Math.round(began)} ms:\n${wrong.slice(0, 30).join('\n')}`);
  }
}
