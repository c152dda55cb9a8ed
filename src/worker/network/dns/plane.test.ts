/** The plane with real processes, on loopback addresses. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sleep } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { seededRandom } from '../../../lib/random.ts';
import { realClock } from '../../../lib/real.ts';
import type { Desired, Plane } from '../planes.ts';
import { createNamesPlane, type NamesPlaneOptions } from './index.ts';
import { defaultCommand } from './spawn.ts';
import { type Asking, ask, desired, endpoint, network, type Parts, sandbox, service } from './testing/state.ts';

// Two runs on one machine at the same time do not meet.
const third = 1 + (process.pid % 250);
const gatewaySubnet = `127.88.${third}.0/24`;
const otherSubnet = `127.89.${third}.0/24`;
const asker = `127.88.${third}.7`;

let stateDir = '';
let planes: Plane[] = [];

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'names-'));
});

afterEach(async () => {
  for (const each of planes) await each.close();
  await plane().destroy();
  planes = [];
  rmSync(stateDir, { recursive: true });
});

function plane(extra: Partial<NamesPlaneOptions> = {}): Plane {
  const made = createNamesPlane({ stateDir, clock: realClock, random: seededRandom(3), log: silentLog, ...extra });
  planes.push(made);
  return made;
}

function state(address: string, extra: Parts = {}): Desired {
  return desired({
    gatewaySubnet,
    sandboxes: [sandbox('t1', asker, ['net'])],
    networks: [network('net', ['10.0.1.0/24'])],
    services: [service('web', { net: [`${address}/24`] })],
    endpoints: [endpoint('t1', 'web', { net: ['10.0.1.5/24'] })],
    ...extra,
  });
}

const to: Asking = { server: `127.88.${third}.1`, port: 10_053, from: asker };
const pid = () => Number(readFileSync(join(stateDir, 'names.pid'), 'utf8'));
const web = async (where: Asking = to) => (await ask(where, 'web')).data.join(' ');

function alive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${processId}/status`, 'utf8'));
  } catch {
    return false;
  }
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 800; tries++) {
    if (await holds()) return;
    await sleep(realClock, 25);
  }
  throw new Error('it does not come true');
}

test('no process on a node without containers; the first network starts it before its first container', async () => {
  const names = plane();
  expect(await names.sync(desired({ gatewaySubnet }))).toEqual([]);
  await sleep(realClock, 100);
  expect(existsSync(join(stateDir, 'names.log'))).toBe(false);
  await names.sync(state('10.0.1.2', { sandboxes: [] }));
  await until(() => existsSync(join(stateDir, 'names.pid')) && pid() > 0);
  const running = pid();
  await names.sync(state('10.0.1.2'));
  expect([await web(), pid()]).toEqual(['10.0.1.2', running]);
});

test('a container without networks is answered as well, with nothing of the cluster', async () => {
  const names = plane();
  const alone = sandbox('t1', asker, []);
  const wanted = state('10.0.1.2', { sandboxes: [{ ...alone, nameservers: ['127.0.0.1'] }] });
  await names.wire([alone], wanted);
  // Nobody is left to be asked for it.
  expect((await ask(to, 'web')).code).toBe('SERVFAIL');
});

test('a change is in place when it is acknowledged, and a container that goes is not answered any more', async () => {
  const names = plane();
  const first = state('10.0.1.2');
  const [one] = first.sandboxes.values();
  if (one === undefined) throw new Error('no sandbox');
  await names.wire([one], first);
  expect(await web()).toBe('10.0.1.2');
  for (let n = 3; n < 30; n++) {
    expect(await names.sync(state(`10.0.1.${n}`))).toEqual([]);
    expect(await web()).toBe(`10.0.1.${n}`);
  }
  expect(statSync(join(stateDir, 'names.sock')).mode & 0o777).toBe(0o600);
  await names.unwire(one, first);
  expect((await ask(to, 'web')).code).toBe('REFUSED');
  const running = pid();
  await names.destroy();
  await until(() => !alive(running));
  await names.wire([one], first);
  expect(await web()).toBe('10.0.1.2');
});

test('a daemon that is gone is not missed; the next one finds the process and tells it what is new', async () => {
  const before = plane();
  await before.sync(state('10.0.1.2'));
  const running = pid();
  await before.close();
  expect(await web()).toBe('10.0.1.2');
  rmSync(join(stateDir, 'names.pid'));
  const after = plane();
  await after.sync(state('10.0.1.3'));
  expect(await web()).toBe('10.0.1.3');
  expect(alive(running)).toBe(true);
  await after.close();
  writeFileSync(join(stateDir, 'names.pid'), `${running}\n`);
});

test('the process outlives the death of the one that started it', async () => {
  const daemon = join(stateDir, 'daemon.ts');
  const source = (path: string) => JSON.stringify(fileURLToPath(new URL(path, import.meta.url)));
  writeFileSync(
    daemon,
    `import { createNamesPlane } from ${source('./index.ts')};
     import { realClock, realRandom } from ${source('../../../lib/real.ts')};
     import { silentLog } from ${source('../../../lib/log.ts')};
     import { desired, network, sandbox, service } from ${source('./testing/state.ts')};
     const names = createNamesPlane({ stateDir: ${JSON.stringify(stateDir)}, clock: realClock, random: realRandom, log: silentLog });
     void names.sync(desired({ gatewaySubnet: '${gatewaySubnet}', sandboxes: [sandbox('t1', '${asker}', ['net'])],
       networks: [network('net', [])], services: [service('web', { net: ['10.0.1.9/24'] })] })).then((problems) => console.log(problems.length));
     setInterval(() => {}, 1000);`,
  );
  const child = spawn(process.execPath, ['-C', 'source', '--import', 'tsx', daemon], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  expect(said.toString()).toBe('0\n');
  // As a service manager does it: the whole process group, first politely.
  process.kill(-(child.pid ?? 0), 'SIGTERM');
  await once(child, 'exit');
  expect(await web()).toBe('10.0.1.9');
  const running = pid();
  await plane().sync(state('10.0.1.4'));
  expect([await web(), pid()]).toEqual(['10.0.1.4', running]);
});

test('a process that crashes is started again and knows everything, without anything being asked for', async () => {
  const names = plane();
  await names.sync(state('10.0.1.2'));
  const first = pid();
  process.kill(first, 'SIGKILL');
  await until(() => pid() !== first);
  await until(async () => (await web().catch(() => '')) === '10.0.1.2');
  const second = pid();
  process.kill(second, 'SIGKILL');
  expect(await names.sync(state('10.0.1.3'))).toEqual([]);
  expect(await web()).toBe('10.0.1.3');
});

test('a process that hangs is killed and replaced', async () => {
  const before = plane();
  await before.sync(state('10.0.1.2'));
  const hanging = pid();
  await before.close();
  process.kill(hanging, 'SIGSTOP');
  expect(await plane().sync(state('10.0.1.3'))).toEqual([]);
  expect(await web()).toBe('10.0.1.3');
  await until(() => !alive(hanging));
});

test('a process of another version is replaced', async () => {
  const before = plane();
  await before.sync(state('10.0.1.2'));
  const older = pid();
  await before.close();
  expect(await plane({ version: '99.0.0' }).sync(state('10.0.1.3'))).toEqual([]);
  expect(await web()).toBe('10.0.1.3');
  expect([pid() === older, alive(older)]).toEqual([false, false]);
});

test('the address moves with the node’s place, and an address that comes late is waited for', async () => {
  const names = plane();
  await names.sync(state('10.0.1.2'));
  await names.sync(state('10.0.1.2', { gatewaySubnet: otherSubnet }));
  expect(await web({ ...to, server: `127.89.${third}.1` })).toBe('10.0.1.2');
  await expect(ask(to, 'web')).rejects.toThrow();
  // Documentation addresses are nobody's: the host will never have it.
  const [problem] = await names.sync(state('10.0.1.2', { gatewaySubnet: '192.0.2.0/24' }));
  expect(problem?.message).toMatch(/^cannot answer names on 192\.0\.2\.1:10053: .*EADDRNOTAVAIL/);
  expect(await names.sync(state('10.0.1.2'))).toEqual([]);
  expect(await web()).toBe('10.0.1.2');
});

test('an address that is taken is a problem, and its end is told', async () => {
  const blocker: Server = createServer();
  blocker.listen(10_053, to.server);
  await once(blocker, 'listening');
  let again = () => {};
  const told = new Promise<void>((resolve) => {
    again = resolve;
  });
  const names = plane({ again: () => again() });
  const [problem] = await names.sync(state('10.0.1.2'));
  expect(problem?.message).toContain('EADDRINUSE');
  blocker.close();
  await told;
  expect(await web()).toBe('10.0.1.2');
});

test('an address that is taken keeps only containers that are on a network from starting', async () => {
  const blocker: Server = createServer();
  blocker.listen(10_053, to.server);
  await once(blocker, 'listening');
  const names = plane();
  const plain = sandbox('t2', `127.88.${third}.8`, []);
  await names.wire([plain], state('10.0.1.2', { sandboxes: [plain] }));
  const onNetwork = await names.wire([plain, sandbox('t1', asker, ['net'])], state('10.0.1.2'));
  expect([...onNetwork.keys()]).toEqual(['t1']);
  expect(String(onNetwork.get('t1'))).toContain('EADDRINUSE');
  blocker.close();
});

test('a command that does not run is a problem that says where to look, and is tried again', async () => {
  const flag = join(stateDir, 'flag');
  let again = () => {};
  const told = new Promise<void>((resolve) => {
    again = resolve;
  });
  const [program = '', ...args] = defaultCommand();
  const shell = ['/bin/sh', '-c', `test -e ${flag} || exit 3; exec "$0" "$@"`, program, ...args];
  const [problem] = await plane({ command: shell, again: () => again() }).sync(state('10.0.1.2'));
  expect(problem?.message).toMatch(/does not start: it ended with exit code 3; its log: .*names\.log$/);
  writeFileSync(flag, '');
  await told;
  expect(await web()).toBe('10.0.1.2');
}, 60_000);
