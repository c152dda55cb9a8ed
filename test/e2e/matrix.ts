/**
 * Who can reach whom, as the store implies it, held against what every container, every host and the world outside really get:
 * names, virtual addresses, tasks' own addresses, published ports, what must not be reachable, and what is gone.
 */
import { fileURLToPath } from 'node:url';
import { containers } from './cluster.ts';
import { execute, type Host, type Hosts } from './hosts.ts';
import {
  type Endpoint,
  type HostPort,
  hostnameOf,
  networksOf,
  type Seen,
  type Service,
  type Truth,
  truth,
} from './truth.ts';

const probeScript = fileURLToPath(new URL('./probe.mjs', import.meta.url));

/** `silent`: nobody should answer, so nobody is waited for long. */
export type Probe =
  | { readonly kind: 'http' | 'udp'; readonly host: string; readonly port: number; readonly silent?: true }
  | { readonly kind: 'dns'; readonly name: string; readonly type: 'A' | 'AAAA' | 'PTR' };
type Answer = string | readonly string[];

interface Expectation {
  readonly probe: Probe;
  readonly expected: string;
  readonly holds: (answer: Answer) => boolean;
}

/** Fixed by the image: nginx on 80 answers `HOSTNAME CLIENT`, socat on 9000/udp likewise. */
export const httpPort = 80;
export const udpPort = 9000;

/** What one container must see. */
function fromContainer(self: Endpoint, now: Truth, seen: Seen): readonly Expectation[] {
  const networks = [...self.addresses.keys()];
  const found: Expectation[] = [];
  for (const service of now.services) {
    const all = networksOf(service, now);
    const shared = networks.filter((network) => all.has(network));
    const views = shared.map((network) => viewOf(service, network, now));
    if (views.length > 0) found.push(...plainNames(service, views));
    for (const view of views) found.push(...onNetwork(service, view));
  }
  const strange = now.services.filter((service) => networks.every((network) => !networksOf(service, now).has(network)));
  const gone = [...strange.flatMap(({ name }) => [name, `tasks.${name}`]), ...seen.namesGone(networks, now)];
  for (const name of new Set(gone)) found.push(unknown(name));
  for (const network of networks) {
    const suffix = `.${now.networks.get(network)}`;
    for (const name of seen.namesGone([network], now)) found.push(unknown(name + suffix));
    for (const address of seen.addressesGone(network, now)) found.push(...nobody(address));
  }
  return found;
}

/** A service on one network. */
interface View {
  readonly suffix: string;
  readonly names: readonly string[];
  /** What its name leads to. */
  readonly addresses: readonly string[];
  readonly virtual: readonly string[];
  readonly tasks: readonly { readonly hostname: string; readonly addresses: readonly string[] }[];
  /** All of its tasks, also those on other networks only. */
  readonly hostnames: ReadonlySet<string>;
}

function viewOf(service: Service, network: string, { endpoints, networks }: Truth): View {
  const own = endpoints.filter((endpoint) => endpoint.service === service.name);
  const here = own.filter(({ addresses }) => addresses.has(network));
  const tasks = here.map((task) => ({ hostname: hostnameOf(task), addresses: task.addresses.get(network) ?? [] }));
  const virtual = service.dnsrr ? [] : (service.vips.get(network) ?? []);
  return {
    suffix: `.${networks.get(network)}`,
    names: [service.name, ...(service.aliases.get(network) ?? [])],
    addresses: service.dnsrr ? tasks.flatMap(({ addresses }) => addresses) : virtual,
    virtual,
    tasks,
    hostnames: new Set(own.map(hostnameOf)),
  };
}

/** Names without a network lead to one of the asker's. */
function plainNames(service: Service, views: readonly View[]): readonly Expectation[] {
  const tasks = views.flatMap((view) => view.tasks.map(({ hostname }) => hostname));
  const names = new Set(views.flatMap((view) => view.names));
  return [
    ...[...names].flatMap((name) => {
      const named = views.filter((view) => view.names.includes(name));
      return resolves(name, ...named.map(({ addresses }) => addresses));
    }),
    ...resolves(`tasks.${service.name}`, ...views.map((view) => view.tasks.flatMap(({ addresses }) => addresses))),
    ...[...new Set(tasks)].flatMap((name) => {
      const all = views.flatMap((view) => view.tasks).filter(({ hostname }) => hostname === name);
      return resolves(name, ...all.map(({ addresses }) => addresses));
    }),
  ];
}

function onNetwork(service: Service, view: View): readonly Expectation[] {
  const { suffix, tasks, virtual } = view;
  const found = view.names.flatMap((name) => resolves(name + suffix, view.addresses));
  const all = tasks.flatMap(({ addresses }) => addresses);
  found.push(...resolves(`tasks.${service.name}${suffix}`, all));
  for (const address of virtual)
    found.push(...answersOne(address, view.hostnames), pointsTo(address, service.name + suffix));
  for (const { hostname, addresses } of tasks) {
    found.push(...resolves(hostname + suffix, addresses));
    for (const address of addresses)
      found.push(...answersOne(address, new Set([hostname])), pointsTo(address, hostname + suffix));
  }
  return found;
}

function answersOne(host: string, hostnames: ReadonlySet<string>): readonly Expectation[] {
  const none = hostnames.size === 0;
  const expected = none ? 'nobody' : `one of ${[...hostnames].join(' ')}`;
  const holds = (answer: Answer) => (none ? isNobody(answer) : hostnames.has(String(answer).split(' ')[0] ?? ''));
  return [
    { probe: { kind: 'http', host, port: httpPort }, expected, holds },
    { probe: { kind: 'udp', host, port: udpPort }, expected, holds },
  ];
}

/** An address that was somebody's: nobody answers, and it has no name. */
function nobody(host: string): readonly Expectation[] {
  const expected = 'nobody, since it is gone';
  return [
    { probe: { kind: 'http', host, port: httpPort, silent: true }, expected, holds: isNobody },
    { probe: { kind: 'udp', host, port: udpPort, silent: true }, expected, holds: isNobody },
    {
      probe: { kind: 'dns', name: reverseName(host), type: 'PTR' },
      expected,
      holds: (answer) => answer === 'NXDOMAIN',
    },
  ];
}

export function isNobody(answer: Answer): boolean {
  return typeof answer === 'string' && /^(E[A-Z]+|TIMEOUT)$/.test(answer);
}

/** Both families; which of several networks' addresses are given is the server's choice. */
function resolves(name: string, ...choices: readonly (readonly string[])[]): readonly Expectation[] {
  return (['A', 'AAAA'] as const).map((type) => {
    const texts = choices.map((addresses) =>
      addresses
        .filter((one) => one.includes(':') === (type === 'AAAA'))
        .sort()
        .join(' '),
    );
    const holds = (answer: Answer) =>
      Array.isArray(answer) && texts.includes([...(answer as readonly string[])].sort().join(' '));
    return { probe: { kind: 'dns', name, type }, expected: texts.join(' or ') || 'no address', holds };
  });
}

function pointsTo(address: string, name: string): Expectation {
  const holds = (answer: Answer) => Array.isArray(answer) && answer.join() === name;
  return { probe: { kind: 'dns', name: reverseName(address), type: 'PTR' }, expected: name, holds };
}

function unknown(name: string): Expectation {
  const holds = (answer: Answer) => answer === 'NXDOMAIN';
  return { probe: { kind: 'dns', name, type: 'A' }, expected: 'NXDOMAIN', holds };
}

export function reverseName(address: string): string {
  if (!address.includes(':')) return `${address.split('.').reverse().join('.')}.in-addr.arpa`;
  const [before = '', after = ''] = address.split('::');
  const groups = (text: string) => text.split(':').filter(Boolean);
  const missing = Array<string>(8 - groups(before).length - groups(after).length).fill('0');
  const all = [...groups(before), ...missing, ...groups(after)].map((group) => group.padStart(4, '0'));
  return `${[...all.join('')].reverse().join('.')}.ip6.arpa`;
}

/** A place on a host that is asked for published ports. */
interface Entry {
  readonly node: string;
  readonly address: string;
}

/** Published ports through `entries`; `client` is who the container must see, where that can be said. */
function published(now: Truth, seen: Seen, entries: readonly Entry[], client?: string): readonly Expectation[] {
  const { services, endpoints } = now;
  const found = services.flatMap((service) => {
    const hostnames = endpoints.filter((endpoint) => endpoint.service === service.name).map(hostnameOf);
    return service.ports.flatMap((port) => {
      const from = port.source === 'preserve' ? client : undefined;
      return entries.map(({ address }) => onPort(address, port, hostnames, from));
    });
  });
  for (const { node, address } of entries) {
    for (const task of endpoints.filter((one) => one.node === node))
      for (const port of task.hostPorts) found.push(onPort(address, port, [hostnameOf(task)], client));
    for (const port of seen.portsGone(node, now)) found.push(onPort(address, port, []));
  }
  return found;
}

function onPort(
  host: string,
  { protocol, published: port }: HostPort,
  hostnames: readonly string[],
  client?: string,
): Expectation {
  // Of datagrams that nobody takes, a host tells only so many senders a second.
  if (hostnames.length === 0)
    return protocol === 'udp'
      ? { probe: { kind: 'udp', host, port, silent: true }, expected: 'nobody', holds: isNobody }
      : { probe: { kind: 'http', host, port }, expected: 'a refusal', holds: (answer) => answer === 'ECONNREFUSED' };
  const expected = `one of ${hostnames.join(' ')}${client === undefined ? '' : `, client ${client}`}`;
  const holds = (answer: Answer) => {
    const [hostname = '', from = ''] = String(answer).split(' ');
    return hostnames.includes(hostname) && (client === undefined || from.replace('::ffff:', '') === client);
  };
  return { probe: { kind: protocol === 'udp' ? 'udp' : 'http', host, port }, expected, holds };
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

interface Round {
  readonly hosts: Hosts;
  /** Whose API says what is true. */
  readonly ask: Host;
  /** The hosts that are to be asked. */
  readonly alive: readonly Host[];
  readonly seen: Seen;
}

/** Everything once; gives what is wrong. */
async function mismatches({ hosts, ask, alive, seen }: Round): Promise<readonly string[]> {
  const now = await truth(ask);
  seen.note(now);
  const entries = alive.map(({ name, address }) => ({ node: name, address }));
  const pids = new Map<string, number>();
  for (const host of alive) for (const [id, pid] of await containers(hosts, host)) pids.set(id, pid);
  const inside = now.endpoints.map((endpoint) => async () => {
    const pid = pids.get(endpoint.taskId);
    if (pid === undefined) return [`${endpoint.taskId} of ${endpoint.service} has no container`];
    const all = [...fromContainer(endpoint, now, seen), ...published(now, seen, entries)];
    return judge(`${endpoint.service} on ${endpoint.node}`, `/proc/${pid}/ns/net`, all);
  });
  const onHosts = alive.map(({ name, namespace }) => () => {
    const all = published(now, seen, [{ node: name, address: '127.0.0.1' }, ...entries]);
    return judge(name, `/run/netns/${namespace}`, all);
  });
  const outside = () => judge('outside', undefined, published(now, seen, entries, hosts.outside));
  return someAtATime([...inside, ...onHosts, outside]);
}

/** Part of their time they wait for what must not come. */
const placesAtATime = 5;

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
export async function expectMatrix(round: Round): Promise<number> {
  const settled = performance.now();
  for (;;) {
    const began = performance.now() - settled;
    const wrong = await mismatches(round);
    if (wrong.length === 0) return began;
    if (began > staleMaxMs) throw new Error(`after ${Math.round(began)} ms:\n${wrong.slice(0, 30).join('\n')}`);
  }
}
