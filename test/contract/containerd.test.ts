/** The containerd driver against a real containerd, runc and registry. Needs root. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AssignedTask, LogLine, LogQuery } from '../../src/model/assignment.ts';
import type { ContainerSpec, TaskSpec } from '../../src/model/spec.ts';
import type { ContainerdExecutor } from '../../src/worker/containerd/executor.ts';
import { executorContract } from '../../src/worker/executor/contract.ts';
import type { Dependencies } from '../../src/worker/executor/port.ts';
import { buildImage, busyboxFiles, busyboxImage, pushImage } from '../fixtures/images.ts';
import { type ContainerdHost, makeTask, startContainerdHost } from './containerd-host.ts';

const nothing: Dependencies = { secret: () => undefined, config: () => undefined };
const everything: LogQuery = { stdout: true, stderr: true, follow: false, tail: -1, since: 0, until: 0 };
const never = () => new AbortController().signal;

let host: ContainerdHost;
let executor: ContainerdExecutor;

beforeAll(async () => {
  host = await startContainerdHost();
  await pushImage(`http://${host.registry}`, 'library/busybox:latest', await busyboxImage());
  executor = host.executor();
});

afterAll(() => host.close());

const ending = new Map<string, string>();

executorContract('containerd', async () => {
  const own = host.executor();
  const made = [own];
  const tasks: string[] = [];
  const known = <T extends { readonly id: string }>(task: T): T => {
    tasks.push(task.id);
    return task;
  };
  // The process waits for a file on a shared mount, so that the suite decides when it ends.
  const gated = (script: string) => {
    const gate = join(host.directory, `gate-${tasks.length}-${made.length}-${process.hrtime.bigint()}`);
    mkdirSync(gate);
    const task = makeTask({
      Command: ['sh', '-c', `while [ ! -e /gate/open ]; do sleep 0.02; done; ${script}`],
      Mounts: [{ Type: 'bind', Source: gate, Target: '/gate' }],
    });
    ending.set(task.id, gate);
    return known(task);
  };
  return {
    executor: own,
    restarted: async () => {
      await own.close();
      const next = host.executor();
      made.push(next);
      return next;
    },
    longTask: () => known(makeTask({ Command: ['sleep', '1000'], Init: true })),
    endingTask: (exitCode) => gated(`exit ${exitCode}`),
    finish: (taskId) => writeFileSync(join(ending.get(taskId) ?? '', 'open'), ''),
    printingTask: () => gated('echo line-1; echo line-2; echo line-3'),
    badTask: () => known(makeTask({ Image: 'nosuch:1' })),
    settle: (work) => work,
    close: async () => {
      const last = made.at(-1) ?? own;
      for (const id of tasks) await last.discard(id);
      for (const one of made) await one.close();
    },
  };
});

async function output(task: AssignedTask, dependencies: Dependencies = nothing): Promise<string> {
  const controller = executor.controller(task, dependencies);
  try {
    await controller.prepare(never());
    await controller.start(never());
    const { exitCode } = await controller.wait(never());
    const lines = await collect(executor.logs(task.id, everything, never()));
    const text = lines.map((line) => line.text).join('');
    expect(exitCode, text).toBe(0);
    return text;
  } finally {
    await controller.remove();
  }
}

const shell = (script: string, container: Partial<ContainerSpec> = {}, spec: Partial<TaskSpec> = {}) =>
  makeTask({ Command: ['sh', '-c', script], ...container }, spec);

describe('running containers', () => {
  test('output is kept apart by stream, a last line without newline too', async () => {
    const task = shell('echo out; printf err >&2; exit 7');
    const controller = executor.controller(task, nothing);
    await controller.prepare(never());
    await controller.start(never());
    expect(await controller.wait(never())).toMatchObject({ exitCode: 7 });
    const lines = await collect(executor.logs(task.id, everything, never()));
    expect(lines.map((line) => `${line.stream}:${line.text}`).sort()).toEqual(['stderr:err', 'stdout:out\n']);
    await controller.remove();
    expect(await executor.existing()).not.toContain(task.id);
  });

  test('environment, templates, user, groups, directory and hostname are what the spec says', async () => {
    const task = shell('echo $A $B $C; id -u; id -g; id -G; pwd; hostname; cat /etc/hostname', {
      Env: ['A=1', 'B={{.Service.Name}}.{{.Task.Slot}}', 'C={{index .Service.Labels "tier"}}-{{.Node.Hostname}}'],
      User: 'www-data',
      Groups: ['nogroup'],
      Dir: '/tmp/work',
      Hostname: '{{.Service.Name}}-{{.Task.Slot}}',
    });
    expect((await output(task)).split('\n')).toEqual([
      '1 web.2 front-test-host',
      '33',
      '33',
      '33 65534',
      '/tmp/work',
      'web-2',
      'web-2',
      '',
    ]);
  });

  test('an unknown user is refused in Docker words', async () => {
    const controller = executor.controller(shell('true', { User: 'alice' }), nothing);
    await expect(controller.prepare(never())).rejects.toThrow(
      'unable to find user alice: no matching entries in passwd file',
    );
    await controller.remove();
  });

  test('a command that is not in the image fails with the reason of the runtime', async () => {
    const controller = executor.controller(makeTask({ Command: ['/no/such'] }), nothing);
    await expect(controller.prepare(never())).rejects.toThrow(/starting container failed: .*no such file or directory/);
    await controller.remove();
  });

  test('privileges are the default ones: capabilities, system calls, hidden and read-only paths', async () => {
    const text = await output(
      shell(
        'grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; unshare -m true 2>&1; ' +
          'ls /proc/acpi | wc -l; touch /proc/sys/x 2>&1; mount -t tmpfs x /tmp 2>&1; true',
      ),
    );
    expect(text).toContain('CapEff:\t00000000a80425fb');
    expect(text).toContain('Seccomp:\t2');
    expect(text).toMatch(/unshare: .*Operation not permitted/);
    expect(text).toMatch(/permission denied|Operation not permitted/i);
  });

  test('capabilities, limits and flags of the task are applied', async () => {
    const task = shell(
      'grep -E "CapBnd|NoNewPrivs" /proc/self/status; ulimit -n; cat /proc/sys/net/ipv4/ip_forward; touch /x 2>&1; true',
      {
        CapabilityDrop: ['ALL'],
        CapabilityAdd: ['CAP_KILL'],
        Ulimits: [{ Name: 'nofile', Soft: 128, Hard: 256 }],
        Sysctls: { 'net.ipv4.ip_forward': '1' },
        ReadOnly: true,
        Privileges: { NoNewPrivileges: true },
      },
    );
    expect(await output(task)).toMatchInlineSnapshot(`
      "CapBnd:	0000000000000020
      NoNewPrivs:	1
      128
      1
      touch: /x: Read-only file system
      "
    `);
  });

  test('memory, cpu and process limits reach the cgroup, and running out of memory is named', async () => {
    const resources = { Limits: { MemoryBytes: 32 * 1024 * 1024, NanoCPUs: 500_000_000, Pids: 50 } };
    const task = shell('x=1; while true; do x=$x$x; done', {}, { Resources: resources });
    const controller = executor.controller(task, nothing);
    await controller.prepare(never());
    const root = `/sys/fs/cgroup`;
    const cgroup = `${host.namespace}/${task.id}`;
    if (existsSync(`${root}/memory/${cgroup}`)) {
      expect(readFileSync(`${root}/memory/${cgroup}/memory.limit_in_bytes`, 'utf8').trim()).toBe('33554432');
      expect(readFileSync(`${root}/cpu/${cgroup}/cpu.cfs_quota_us`, 'utf8').trim()).toBe('50000');
      expect(readFileSync(`${root}/pids/${cgroup}/pids.max`, 'utf8').trim()).toBe('50');
    }
    await controller.start(never());
    expect(await controller.wait(never())).toMatchObject({ exitCode: 137, reason: 'out of memory' });
    await controller.remove();
  });

  test('a terminal merges both streams', async () => {
    const text = await output(shell('tty; echo $TERM; echo err >&2', { TTY: true }));
    expect(text).toBe('/dev/pts/0\r\nxterm\r\nerr\r\n');
  });

  test('the image entrypoint and command follow Docker rules', async () => {
    const image = buildImage({
      files: busyboxFiles(),
      config: { Entrypoint: ['echo', 'entry'], Cmd: ['image'], Env: ['PATH=/bin'] },
    });
    await pushImage(`http://${host.registry}`, 'library/entry:latest', image);
    expect(await output(makeTask({ Image: 'entry' }))).toBe('entry image\n');
    expect(await output(makeTask({ Image: 'entry', Args: ['args'] }))).toBe('entry args\n');
    expect(await output(makeTask({ Image: 'entry', Command: ['echo', 'own'] }))).toBe('own\n');
  });

  test('what is not built is refused by name, before anything is made', async () => {
    const task = makeTask({ Privileges: { CredentialSpec: { File: 'x' } } });
    const controller = executor.controller(task, nothing);
    await expect(controller.prepare(never())).rejects.toMatchObject({
      kind: 'unimplemented',
      message: 'a credential spec is not supported yet',
    });
    expect(await executor.existing()).not.toContain(task.id);
  });
});

describe('stopping', () => {
  const running = async (task: AssignedTask) => {
    const controller = executor.controller(task, nothing);
    await controller.prepare(never());
    await controller.start(never());
    return controller;
  };

  test('the stop signal of the task is sent, and the exit code told', async () => {
    const script = 'trap "exit 9" USR1; echo ready; while true; do sleep 0.05; done';
    const task = shell(script, { StopSignal: 'SIGUSR1' });
    const controller = await running(task);
    const follow = executor.logs(task.id, { ...everything, follow: true }, never());
    for await (const line of follow) if (line.text === 'ready\n') break;
    await controller.shutdown();
    expect(await controller.wait(never())).toMatchObject({ exitCode: 9 });
    await controller.remove();
  });

  test('what does not stop in its grace period is killed', async () => {
    const controller = await running(makeTask({ Command: ['sleep', '1000'], StopGracePeriod: 200_000_000 }));
    await controller.shutdown();
    expect(await controller.wait(never())).toMatchObject({ exitCode: 137 });
    await controller.remove();
  });

  test('an init process passes the signal on', async () => {
    const task = makeTask({ Command: ['sleep', '1000'], Init: true, StopGracePeriod: 60_000_000_000 });
    const controller = await running(task);
    await controller.shutdown();
    expect(await controller.wait(never())).toMatchObject({ exitCode: 143 });
    await controller.remove();
  });

  test('a container killed from outside ends with 137 and no reason', async () => {
    const controller = await running(makeTask({ Command: ['sleep', '1000'] }));
    const status = await controller.status();
    process.kill(status?.pid ?? 0, 'SIGKILL');
    const exit = await controller.wait(never());
    expect(exit.exitCode).toBe(137);
    expect(exit.reason).toBeUndefined();
    await controller.remove();
  });
});

describe('storage', () => {
  test('a named volume starts with the image content and keeps what tasks write', async () => {
    const mount = { Type: 'volume', Source: 'data', Target: '/home/app' };
    const image = buildImage({
      files: { ...busyboxFiles(), '/home/app/seed': { file: 'seed\n' }, '/home/app': { dir: true, mode: 0o750 } },
      config: {},
    });
    await pushImage(`http://${host.registry}`, 'library/seeded:latest', image);
    const first = shell('cat /home/app/seed; stat -c %a /home/app; echo more > /home/app/more', {
      Image: 'seeded',
      Mounts: [mount],
    });
    expect(await output(first)).toBe('seed\n750\n');
    expect(await output(shell('ls /home/app', { Mounts: [mount] }))).toBe('more\nseed\n');
    expect(
      await output(shell('touch /v/x 2>&1; true', { Mounts: [{ ...mount, Target: '/v', ReadOnly: true }] })),
    ).toContain('Read-only');
  });

  test('an anonymous volume goes with its task', async () => {
    const task = shell('echo x > /v/x; cat /v/x', { Mounts: [{ Type: 'volume', Target: '/v' }] });
    expect(await output(task)).toBe('x\n');
    expect(readdirSync(join(host.directory, 'state/volumes')).filter((name) => name.startsWith(task.id))).toEqual([]);
  });

  test('binds and memory mounts are applied; a missing bind source is named', async () => {
    const source = join(host.directory, 'bind');
    mkdirSync(source);
    writeFileSync(join(source, 'file'), 'from host\n');
    const task = shell('cat /b/file; touch /b/x 2>&1; df /t | tail -1 | awk "{print \\$2}"', {
      Mounts: [
        { Type: 'bind', Source: source, Target: '/b', ReadOnly: true },
        { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 1024 * 1024 } },
      ],
    });
    expect(await output(task)).toBe('from host\ntouch: /b/x: Read-only file system\n1024\n');
    const bad = executor.controller(
      shell('true', { Mounts: [{ Type: 'bind', Source: '/no/such', Target: '/b' }] }),
      nothing,
    );
    await expect(bad.prepare(never())).rejects.toThrow(
      'invalid mount config for type "bind": bind source path does not exist: /no/such',
    );
    await bad.remove();
  });

  test('secrets and configs arrive with owner and mode, and leave with the task', async () => {
    const data = (text: string) => Buffer.from(text).toString('base64');
    const dependencies: Dependencies = {
      secret: (id) => (id === 's1' ? { id, spec: { Name: 'password', Labels: {}, Data: data('hush') } } : undefined),
      config: (id) => (id === 'c1' ? { id, spec: { Name: 'site', Labels: {}, Data: data('page') } } : undefined),
    };
    const script =
      'cat /run/secrets/pw; echo; stat -c "%u %g %a" /run/secrets/pw; cat /etc/site.conf; echo; ' +
      'echo x 2>&1 > /run/secrets/pw; grep -E " /run/secrets/pw " /proc/mounts | cut -d" " -f3; true';
    const task = shell(script, {
      Secrets: [{ SecretID: 's1', SecretName: 'password', File: { Name: 'pw', UID: '33', GID: '34', Mode: 0o440 } }],
      Configs: [
        { ConfigID: 'c1', ConfigName: 'site', File: { Name: '/etc/site.conf', UID: '0', GID: '0', Mode: 0o444 } },
      ],
    });
    const text = await output(task, dependencies);
    expect(text).toContain('hush\n33 34 440\npage\n');
    expect(text).toContain('tmpfs');
    expect(await executor.existing()).not.toContain(task.id);
  });

  test('a secret that has not arrived is waited for, not a final failure', async () => {
    const task = shell('true', { Secrets: [{ SecretID: 'later', SecretName: 'later' }] });
    const controller = executor.controller(task, nothing);
    await expect(controller.prepare(never())).rejects.toMatchObject({ retryable: true });
    await controller.remove();
  });
});

describe('health', () => {
  const check = (script: string) => ({ Test: ['CMD-SHELL', script], Interval: 50_000_000, Timeout: 1e9, Retries: 2 });

  test('start resolves when the check passes first', async () => {
    const controller = executor.controller(
      shell('sleep 0.3; touch /ready; sleep 1000', {
        Healthcheck: { ...check('test -e /ready'), StartPeriod: 10e9, StartInterval: 5e7 },
      }),
      nothing,
    );
    await controller.prepare(never());
    const before = performance.now();
    await controller.start(never());
    expect(performance.now() - before).toBeGreaterThan(200);
    await controller.remove();
  });

  test('an unhealthy container is stopped and says so', async () => {
    const task = shell('sleep 1000', { Healthcheck: check('exit 1'), StopGracePeriod: 1_000_000 });
    const controller = executor.controller(task, nothing);
    await controller.prepare(never());
    await expect(controller.start(never())).rejects.toThrow('task: non-zero exit (137): unhealthy container');
    expect(await controller.wait(never())).toMatchObject({ exitCode: 137, reason: 'unhealthy container' });
    await controller.remove();
  });

  test('a check that hangs counts as failed', async () => {
    const task = shell('sleep 1000', {
      Healthcheck: { ...check('sleep 1000'), Timeout: 100_000_000 },
      StopGracePeriod: 1_000_000,
    });
    const controller = executor.controller(task, nothing);
    await controller.prepare(never());
    await expect(controller.start(never())).rejects.toThrow('unhealthy container');
    await controller.remove();
  });
});

describe('restarts', () => {
  test('a wait goes on over a killed containerd, and learns of an exit that happened without it', async () => {
    const gate = join(host.directory, 'restart-gate');
    mkdirSync(gate);
    const script = 'echo before; while [ ! -e /gate/open ]; do sleep 0.02; done; echo after; exit 6';
    const task = shell(script, { Mounts: [{ Type: 'bind', Source: gate, Target: '/gate' }] });
    const controller = executor.controller(task, nothing);
    await controller.prepare(never());
    await controller.start(never());
    const exit = controller.wait(never());
    await host.stopContainerd();
    writeFileSync(join(gate, 'open'), '');
    await expect(executor.probe()).rejects.toThrow(
      `Cannot connect to containerd at unix://${host.address}: is it running? Install it with: apt-get install containerd`,
    );
    await host.restartContainerd();
    expect(await exit).toMatchObject({ exitCode: 6 });
    const lines = await collect(executor.logs(task.id, everything, never()));
    expect(lines.map((line) => line.text)).toEqual(['before\n', 'after\n']);
    await controller.remove();
  });

  test('a new agent goes on with the log of an old one, without losing or repeating a line', async () => {
    const script = 'i=0; while [ $i -lt 300 ]; do echo line-$i; i=$((i+1)); usleep 2000; done';
    const old = host.executor();
    const task = shell(script);
    const before = old.controller(task, nothing);
    await before.prepare(never());
    await before.start(never());
    const follow = old.logs(task.id, { ...everything, follow: true }, never());
    for await (const line of follow) if (line.text === 'line-20\n') break;
    await old.close();
    const next = host.executor();
    const controller = next.controller(task, nothing);
    expect(await controller.wait(never())).toMatchObject({ exitCode: 0 });
    const lines = await collect(next.logs(task.id, everything, never()));
    expect(lines.map((line) => line.text)).toEqual(Array.from({ length: 300 }, (_, at) => `line-${at}\n`));
    await controller.remove();
    await next.close();
  });

  test('host-mode ports are known again after a restart of the agent', async () => {
    const port = { TargetPort: 80, PublishedPort: 18080, PublishMode: 'host', Protocol: 'tcp' };
    const task = { ...makeTask({ Command: ['sleep', '1000'], Init: true }), endpoint: { Ports: [port] } };
    const old = host.executor();
    const before = old.controller(task, nothing);
    await before.prepare(never());
    await before.start(never());
    expect(before.ports()).toEqual([port]);
    await old.close();
    const next = host.executor();
    const controller = next.controller(task, nothing);
    await controller.prepare(never());
    await controller.start(never());
    expect(controller.ports()).toEqual([port]);
    await controller.remove();
    await next.close();
  });
});

async function collect(lines: AsyncIterable<LogLine>): Promise<LogLine[]> {
  const all: LogLine[] = [];
  for await (const line of lines) all.push(line);
  return all;
}
