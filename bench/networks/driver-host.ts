/** Run by driver.ts in a fresh network namespace; prints a JSON line per result. */
import { silentLog } from '../../src/lib/log.ts';
import { realClock, realRandom } from '../../src/lib/real.ts';
import type { EndpointRecord, NetworkState, ServiceRecord } from '../../src/model/network.ts';
import { createNetworkDriver } from '../../src/worker/network/driver.ts';
import { execute } from '../../test/e2e/hosts.ts';
import { median } from '../report.ts';
import type { Result } from './result.ts';

const [stateDir = ''] = process.argv.slice(2);
const networkId = 'benchnetwork';
const remoteTasks = 100;
const rounds = 15;
const self = {
  nodeId: 'n1',
  underlay: '10.99.0.1',
  gatewaySubnet: '172.28.1.0/24',
  ingressAddress: '10.255.0.1',
  dataPathPort: 4789,
  gatewayPools: ['172.28.0.0/14'],
  ingressPool: '10.255.0.0/16',
};
const peer = { nodeId: 'n2', underlay: '10.99.0.2', gatewaySubnet: '172.28.2.0/24', ingressAddress: '10.255.0.2' };
const network = {
  id: networkId,
  name: 'bench',
  driver: 'overlay' as const,
  vni: 4097,
  subnets: [{ subnet: '10.0.0.0/16', gateway: '10.0.0.1' }],
  internal: false,
  options: {},
};

const localAddress = (at: number) => `10.0.1.${at + 2}/16`;

function remote(at: number, active = true): EndpointRecord {
  const attachments = [{ networkId, addresses: [`10.0.2.${at + 2}/16`] }];
  const names = [`remote${at}`];
  return {
    taskId: `remote${at}`,
    nodeId: 'n2',
    serviceId: 'web',
    names,
    attachments,
    gateway: `172.28.2.${at + 2}`,
    active,
  };
}

const web: ServiceRecord = {
  id: 'web',
  name: 'web',
  mode: 'vip',
  networks: [{ networkId, addresses: ['10.0.0.2/16'], aliases: [] }],
  ports: [{ protocol: 'tcp', published: 8080, target: 80, source: 'preserve' }],
};

let version = 0;
let endpoints = new Map(Array.from({ length: remoteTasks }, (_, at) => [`remote${at}`, remote(at)]));

function state(): NetworkState {
  version += 1;
  return {
    version,
    self,
    peers: new Map([[peer.nodeId, peer]]),
    networks: new Map([[networkId, network]]),
    endpoints,
    services: new Map([[web.id, web]]),
  };
}

function say(result: Result): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

await execute('ip', ['-batch', '-'], {
  input:
    'link set lo up\nlink add u0 type veth peer name u1\naddr add 10.99.0.1/24 dev u0\nlink set u0 up\nlink set u1 up\n',
});
const driver = createNetworkDriver({
  stateDir,
  prefix: `tscb${process.pid}`,
  clock: realClock,
  random: realRandom,
  log: silentLog,
});
await driver.start();
await driver.apply(state());

const request = (at: number) => ({
  taskId: `task${at}`,
  hostname: `task${at}`,
  mode: 'own' as const,
  attachments: [{ networkId, addresses: [localAddress(at)] }],
  hostPorts: [],
  dns: { nameservers: [], search: [], options: [] },
  extraHosts: [],
});
const never = new AbortController().signal;

/** One remote task of the service goes and comes, as each step of an update does. */
async function oneChange(): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    endpoints = new Map(endpoints).set('remote0', remote(0, round % 2 === 0 ? false : true));
    times.push(await timed(() => driver.apply(state())));
  }
  return median(times) ?? 0;
}

const wiring: number[] = [];
let containers = 0;
for (const count of [1, 10, 50]) {
  for (; containers < count; containers++) {
    const at = containers;
    wiring.push(await timed(() => driver.attach(request(at), never)));
  }
  await driver.apply(state());
  say({ case: `one service change, ${count} containers on the node`, value: await oneChange(), unit: 'ms' });
}
say({
  case: 'wiring one container, after the first',
  value: median(wiring.slice(1)) ?? 0,
  unit: 'ms',
  note: `the first, which makes the network: ${wiring[0]?.toFixed(1)} ms`,
});
const restarted: number[] = [];
await driver.close();
for (let round = 0; round < 5; round++) {
  const next = createNetworkDriver({
    stateDir,
    prefix: `tscb${process.pid}`,
    clock: realClock,
    random: realRandom,
    log: silentLog,
  });
  restarted.push(await timed(() => next.start()));
  await next.close();
}
say({
  case: 'full comparison with nothing to do, 50 containers, 100 remote ones',
  value: median(restarted) ?? 0,
  unit: 'ms',
});
const last = createNetworkDriver({
  stateDir,
  prefix: `tscb${process.pid}`,
  clock: realClock,
  random: realRandom,
  log: silentLog,
});
await last.start();
await last.destroy();
process.exit(0);
