/** A Docker Engine that runs on the same host, before and after: neither breaks the other's networks. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formCluster, page, running } from './cluster.ts';
import { execute, type Host, Hosts, until } from './hosts.ts';
import { serveLocalImages } from './images.ts';

const engine = '/usr/sbin/dockerd';
const client = '/usr/bin/docker';
const isThere = existsSync(engine) && existsSync(client);
if (!isThere) console.warn(`skipped: ${engine} or ${client} is not installed (Debian: docker.io)`);

describe.skipIf(!isThere)('beside a Docker Engine', () => {
  let hosts: Hosts;
  let host: Host;
  let other: Host;
  let dockerd: ChildProcess | undefined;

  const socket = () => join(host.dir, 'docker.sock');

  async function startEngine(): Promise<void> {
    const log = openSync(join(host.dir, 'dockerd.log'), 'a');
    const dirs = ['--data-root', join(host.dir, 'docker'), '--exec-root', join(host.dir, 'docker-exec')];
    const files = ['--pidfile', join(host.dir, 'dockerd.pid'), '-H', `unix://${socket()}`];
    const group = ['--cgroup-parent', `/${host.containerdNamespace}`];
    const rest = ['--containerd', hosts.containerdSocket, '--containerd-namespace', `${hosts.options.prefix}-docker`];
    const insecure = ['--insecure-registry', `${hosts.options.network}.0/24`, '--live-restore'];
    dockerd = spawn(
      'nsenter',
      [`--net=/run/netns/${host.namespace}`, engine, ...dirs, ...files, ...group, ...rest, ...insecure],
      { stdio: ['ignore', log, log], detached: true },
    );
    await until('the engine answers', 20_000, async () => ((await docker('version')).code === 0 ? true : undefined));
  }

  async function stopEngine(): Promise<void> {
    if (dockerd === undefined) return;
    const gone = new Promise((resolve) => dockerd?.once('exit', resolve));
    dockerd.kill('SIGTERM');
    await gone;
    dockerd = undefined;
  }

  const docker = (...args: readonly string[]) =>
    execute(client, ['--host', `unix://${socket()}`, ...args], {
      env: { ...process.env, DOCKER_CONFIG: join(host.dir, 'docker-client') },
    });

  /** From the other host and from this one: the engine's port and both of ours. */
  async function everythingAnswers(): Promise<void> {
    for (const from of [other, host]) {
      for (const [to, port] of [
        [host, 8070],
        [host, 8071],
        [other, 8071],
      ] as const) {
        const what = `${to.name}:${port} from ${from.name}`;
        await until(what, 10_000, async () => {
          const { code } = await from.run('curl', ['-sf', '--max-time', '2', `http://${to.address}:${port}/`]);
          return code === 0 ? true : undefined;
        });
      }
    }
    const [task] = await running(host, 'ours');
    expect(task).toBeDefined();
    const inside = await docker('exec', 'theirs', 'busybox', 'wget', '-q', '-O-', `http://${other.address}:8071/`);
    expect(inside.stdout).toContain('nginx');
  }

  beforeAll(async () => {
    hosts = await Hosts.up({ prefix: 'tsd', network: '10.89.0', count: 2 });
    [host, other] = [hosts.host(1), hosts.host(2)];
    await serveLocalImages(hosts);
  });
  afterAll(async () => {
    if (dockerd !== undefined) await docker('rm', '-f', 'theirs');
    await stopEngine();
    await hosts?.down();
  });

  test('published ports of both answer, whoever came first and whoever restarts', async () => {
    await execute('mkdir', ['-p', host.dir]);
    await startEngine();
    const image = `${hosts.outside}:5000/library/nginx:latest`;
    const run = await docker('run', '-d', '--name', 'theirs', '-p', '8070:80', image);
    expect(run.stderr).not.toContain('rror');
    expect(run.code).toBe(0);
    await formCluster(hosts, 1);
    await host.ok(['network', 'create', '-d', 'overlay', 'net']);
    await host.ok(['service', 'create', '-d', '--name', 'ours', '--network', 'net', '--publish', '8071:80', 'nginx']);
    await until('ours runs', 30_000, async () => ((await running(host, 'ours')).length === 1 ? true : undefined));
    await until('our page', 10_000, () => page(host.address, 8071));
    await everythingAnswers();

    await stopEngine();
    await startEngine();
    await everythingAnswers();

    await host.stop('SIGKILL');
    await host.start();
    await everythingAnswers();

    const tables = async () =>
      (await host.run('iptables', ['-S'])).stdout.split('\n').filter((one) => /docker/i.test(one));
    const before = await tables();
    await other.ok(['leave']);
    await host.ok(['leave', '--force']);
    expect((await tables()).filter((one) => !one.includes('DOCKER-USER'))).toEqual(
      before.filter((one) => !one.includes('DOCKER-USER')),
    );
    expect((await other.run('curl', ['-sf', '--max-time', '2', `http://${host.address}:8070/`])).code).toBe(0);
  });
});
