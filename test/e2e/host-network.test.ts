/** Tasks in the host's network and in none, and what a node that leaves takes away. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formCluster, page, running } from './cluster.ts';
import { execute, Hosts, until } from './hosts.ts';
import { serveLocalImages } from './images.ts';

let hosts: Hosts;

beforeAll(async () => {
  hosts = await Hosts.up({ prefix: 'tsg', network: '10.94.0', count: 1 });
  await serveLocalImages(hosts);
  await formCluster(hosts, 1);
});
afterAll(() => hosts?.down());

test("a task is in the host's network, another one in none, and nothing is left when the node leaves", async () => {
  const host = hosts.host(1);
  await host.ok(['service', 'create', '-d', '--name', 'own', '--network', 'host', 'nginx']);
  await host.ok(['service', 'create', '-d', '--name', 'alone', '--network', 'none', 'nginx']);
  await host.ok([
    'service',
    'create',
    '-d',
    '--name',
    'usual',
    '--publish',
    'mode=host,target=80,published=8080',
    'nginx',
  ]);
  for (const name of ['own', 'alone', 'usual']) {
    await until(`${name} runs`, 20_000, async () => ((await running(host, name)).length === 1 ? true : undefined));
  }
  await until('page of the host', 5_000, () => page(host.address, 80));
  await until('published page', 5_000, () => page(host.address, 8080));

  await host.ok(['leave', '--force']);
  const namespaces = (await execute('ip', ['netns', 'list'])).stdout;
  expect(namespaces).not.toContain(`${host.containerdNamespace}-`);
  expect((await host.run('nft', ['list', 'tables'])).stdout).toBe('');
  const links = (await host.run('ip', ['-br', 'link'])).stdout.split('\n').map((line) => line.split(/[ @]/)[0]);
  expect(links.filter(Boolean).toSorted()).toEqual(['eth0', 'lo']);
  expect((await host.run('ip', ['-4', '-br', 'addr', 'show', 'lo'])).stdout.trim()).toMatch(/127\.0\.0\.1\/8$/);
});
