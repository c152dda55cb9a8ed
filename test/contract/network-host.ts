/** Run by network.test.ts in a fresh network namespace; prints one JSON line of findings. */
import { spawn } from 'node:child_process';
import { silentLog } from '../../src/lib/log.ts';
import { realClock, realRandom } from '../../src/lib/real.ts';
import { emptyNetworkState } from '../../src/model/network.ts';
import { createNetworkDriver } from '../../src/worker/network/driver.ts';
import { execute, until } from '../e2e/hosts.ts';

const stateDir = process.argv[2] ?? '';
const open = () =>
  createNetworkDriver({
    stateDir,
    prefix: `tscnt${process.pid}`,
    clock: realClock,
    random: realRandom,
    log: silentLog,
  });
const signal = new AbortController().signal;
const request = (taskId: string, published?: number) => ({
  taskId,
  hostname: taskId,
  mode: 'own' as const,
  attachments: [],
  hostPorts: published === undefined ? [] : [{ port: published, protocol: 'tcp', target: 80 }],
  dns: { nameservers: [], search: [], options: [] },
  extraHosts: [],
});
const self = {
  nodeId: 'n1',
  underlay: '127.0.0.1',
  gatewaySubnet: '172.28.1.0/24',
  ingressAddress: '10.255.0.1',
  dataPathPort: 4789,
  gatewayPools: ['172.28.0.0/14'],
  ingressPool: '10.255.0.0/16',
};

async function get(url: string, netns?: string): Promise<string> {
  const curl = ['curl', '-s', '--max-time', '2', url];
  const [program = '', ...args] = netns === undefined ? curl : ['nsenter', `--net=${netns}`, ...curl];
  const { code, stdout } = await execute(program, args);
  return code === 0 ? stdout.trim() : 'refused';
}

await execute('ip', ['link', 'set', 'lo', 'up']);
let network = open();
await network.start();
const early = network.attach(request('a', 8080), signal);
const waited = await Promise.race([early.then(() => false), Promise.resolve(true)]);
await network.apply({ ...emptyNetworkState, version: 1, self });
const a = await early;
const b = await network.attach(request('b'), signal);
const none = await network.attach({ ...request('n'), mode: 'none' }, signal);
const host = await network.attach({ ...request('h'), mode: 'host' }, signal);
const server = spawn('nsenter', [
  `--net=${a.netnsPath}`,
  process.execPath,
  '-e',
  "require('http').createServer((q, r) => r.end('hello')).listen(80)",
]);
await until('server', 5_000, async () => ((await get(`http://${a.gateway}/`)) === 'hello' ? true : undefined));

const found: Record<string, unknown> = {
  waited,
  addresses: [a.gateway, b.gateway, none.gateway, host.gateway],
  hostNamespace: host.netnsPath,
  linksOfNone: (await execute('nsenter', [`--net=${none.netnsPath}`, 'ip', '-br', 'link'])).stdout.split(' ')[0],
  again: (await network.attach(request('a', 8080), signal)).gateway,
  viaLoopback: await get('http://127.0.0.1:8080/'),
  viaAddress: await get(`http://${a.gateway}/`),
  fromOtherTask: await get('http://172.28.1.1:8080/', b.netnsPath),
  fromItself: await get('http://172.28.1.1:8080/', a.netnsPath),
  pastTheRules: await get(`http://${a.gateway}/`, b.netnsPath),
  taken: await network.attach(request('c', 8080), signal).then(
    () => 'given',
    (error: Error) => error.message,
  ),
};
await network.close();
await execute('nft', ['delete', 'table', 'ip', 'tsc']); // what a reboot or a careless flush does
network = open();
await network.start();
found['listed'] = (await network.list()).toSorted();
found['afterRestart'] = await get('http://127.0.0.1:8080/');
await network.detach('a');
server.kill();
found['afterDetach'] = await get('http://127.0.0.1:8080/');
await network.attach(request('d'), signal);
found['notReused'] = (await network.attach(request('e'), signal)).gateway;
await network.destroy();
found['linksLeft'] = (await execute('ip', ['-o', 'link', 'show', 'type', 'veth'])).stdout
  .split('\n')
  .filter(Boolean).length;
found['tablesLeft'] = (await execute('nft', ['list', 'tables'])).stdout.trim();
found['namespacesLeft'] = (await execute('ip', ['netns', 'list'])).stdout
  .split('\n')
  .filter((line) => line.startsWith(`tscnt${process.pid}`)).length;
await network.close();
process.stdout.write(`${JSON.stringify(found)}\n`);
process.exit(0);
