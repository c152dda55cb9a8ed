/**
 * Run by network.test.ts in fresh network and mount namespaces: a container without networks asks 127.0.0.11, on a host whose own resolver
 * is on the host's loopback, as systemd-resolved is. Prints one JSON line of findings.
 */
import { createSocket } from 'node:dgram';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decode, encode } from 'dns-packet';
import { silentLog } from '../../src/lib/log.ts';
import { realClock, realRandom } from '../../src/lib/real.ts';
import { emptyNetworkState } from '../../src/model/network.ts';
import { request } from '../../src/worker/network/contract.ts';
import { createNetworkDriver } from '../../src/worker/network/driver.ts';
import { execute } from '../e2e/hosts.ts';

const stateDir = process.argv[2] ?? '';
const signal = new AbortController().signal;
const self = {
  nodeId: 'n1',
  underlay: '127.0.0.1',
  gatewaySubnet: '172.28.1.0/24',
  ingressAddress: '10.255.0.1',
  dataPathPort: 4789,
  gatewayPools: ['172.28.0.0/14'],
  ingressPool: '10.255.0.0/16',
};
const client = `
const { Resolver } = require('dns').promises;
const resolver = new Resolver({ timeout: 2000, tries: 1 });
resolver.setServers(['127.0.0.11']);
resolver.resolve4(process.argv[1]).then((all) => all.join(), (error) => error.code).then(console.log);`;

await execute('ip', ['link', 'set', 'lo', 'up']);
const hostFile = join(stateDir, 'host-resolv.conf');
writeFileSync(hostFile, 'nameserver 127.0.0.53\n');
await execute('mount', ['--bind', hostFile, '/etc/resolv.conf']);
const upstream = createSocket('udp4');
upstream.on('message', (packet, from) => {
  const { id = 0, questions = [] } = decode(packet);
  const known = questions[0]?.name === 'known.example';
  const answers = known ? [{ type: 'A' as const, name: 'known.example', ttl: 9, data: '192.0.2.77' }] : [];
  // 0x8180: an answer, recursion available; 3: no such name.
  const answer = encode({ type: 'response', id, flags: known ? 0x0180 : 0x0183, questions, answers });
  upstream.send(answer, from.port, from.address);
});
await new Promise<void>((resolve) => upstream.bind(53, '127.0.0.53', resolve));

const driver = createNetworkDriver({
  stateDir,
  prefix: `tscnn${process.pid}`,
  clock: realClock,
  random: realRandom,
  log: silentLog,
});
await driver.start();
const web = {
  id: 'web',
  name: 'web',
  mode: 'vip' as const,
  networks: [{ networkId: 'front', addresses: ['10.0.1.2/24'], aliases: [] }],
  ports: [],
};
await driver.apply({ ...emptyNetworkState, version: 1, self, services: new Map([['web', web]]) });
const alone = await driver.attach(request('alone'), signal);
const none = await driver.attach(request('none', { mode: 'none' }), signal);
const ask = async (netns: string, name: string) =>
  (await execute('nsenter', [`--net=${netns}`, process.execPath, '-e', client, name])).stdout.trim();
const found = {
  resolvConf: readFileSync(alone.resolvConfPath, 'utf8').split('\n')[0],
  known: await ask(alone.netnsPath, 'known.example'),
  unknown: await ask(alone.netnsPath, 'unknown.example'),
  ofTheCluster: await ask(alone.netnsPath, 'web'),
  noneIsTold: readFileSync(none.resolvConfPath, 'utf8').includes('127.0.0.11'),
  noneIsAnswered: await ask(none.netnsPath, 'known.example'),
};
await driver.destroy();
await driver.close();
process.stdout.write(`${JSON.stringify(found)}\n`);
process.exit(0);
