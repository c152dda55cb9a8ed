/** Run by network.test.ts in a fresh network namespace; prints one JSON line of findings. */
import { spawn } from 'node:child_process';
import { silentLog } from '../../src/lib/log.ts';
import { createRoutedNetwork } from '../../src/worker/network/routed.ts';
import { execute, until } from '../e2e/hosts.ts';

const stateDir = process.argv[2] ?? '';
const open = () =>
  createRoutedNetwork({ stateDir, subnet: '172.30.0.0/16', prefix: `tscnt${process.pid}`, log: silentLog });
const request = (taskId: string, published?: number) => ({
  taskId,
  hostname: taskId,
  hostPorts: published === undefined ? [] : [{ port: published, protocol: 'tcp', target: 80 }],
  dns: { nameservers: [], search: [], options: [] },
  extraHosts: [],
});

async function get(url: string, netns?: string): Promise<string> {
  const curl = ['curl', '-s', '--max-time', '2', url];
  const [program = '', ...args] = netns === undefined ? curl : ['nsenter', `--net=${netns}`, ...curl];
  const { code, stdout } = await execute(program, args);
  return code === 0 ? stdout.trim() : 'refused';
}

await execute('ip', ['link', 'set', 'lo', 'up']);
let network = open();
await network.start();
const a = await network.attach(request('a', 8080));
const b = await network.attach(request('b'));
const server = spawn('nsenter', [
  `--net=${a.netnsPath}`,
  process.execPath,
  '-e',
  "require('http').createServer((q, r) => r.end('hello')).listen(80)",
]);
await until('server', 5_000, async () => ((await get(`http://${a.address}/`)) === 'hello' ? true : undefined));

const found: Record<string, unknown> = {
  addresses: [a.address, b.address],
  again: (await network.attach(request('a', 8080))).address,
  viaLoopback: await get('http://127.0.0.1:8080/'),
  viaAddress: await get(`http://${a.address}/`),
  fromOtherTask: await get('http://172.30.0.1:8080/', b.netnsPath),
  fromItself: await get('http://172.30.0.1:8080/', a.netnsPath),
  taken: await network.attach(request('c', 8080)).then(
    () => 'given',
    (error: Error) => error.message,
  ),
};
await execute('nft', ['delete', 'table', 'ip', 'tsc']); // what a reboot or a careless flush does
network = open();
await network.start();
found['afterRestart'] = await get('http://127.0.0.1:8080/');
await network.detach('a');
server.kill();
found['afterDetach'] = await get('http://127.0.0.1:8080/');
await network.attach(request('d'));
found['reused'] = (await network.attach(request('e'))).address;
await network.destroy();
found['linksLeft'] = (await execute('ip', ['-o', 'link', 'show', 'type', 'veth'])).stdout
  .split('\n')
  .filter(Boolean).length;
found['tablesLeft'] = (await execute('nft', ['list', 'tables'])).stdout.trim();
process.stdout.write(`${JSON.stringify(found)}\n`);
process.exit(0);
