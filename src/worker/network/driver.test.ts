import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { deferred } from '../../lib/deferred.ts';
import { silentLog } from '../../lib/log.ts';
import { seededRandom } from '../../lib/random.ts';
import { VirtualClock } from '../../lib/testing/virtual-clock.ts';
import { emptyNetworkState, type NetworkState } from '../../model/network.ts';
import type { NetworkProblem } from '../../model/objects.ts';
import { request } from './contract.ts';
import { composeDriver, nextAddress } from './driver.ts';
import type { Plane, SandboxRecord } from './planes.ts';
import { decodeState, encodeState } from './records.ts';

/** Notes what it was asked for; a sync ends when it is told to. */
class ScriptedPlane implements Plane {
  readonly syncs: { readonly version: number; readonly full: boolean }[] = [];
  next: () => Promise<readonly NetworkProblem[]> = async () => [];
  isBehind = false;

  readonly wired: string[][] = [];
  /** Their wiring fails. */
  readonly bad = new Set<string>();
  unwired: string[] = [];

  async wire(sandboxes: readonly SandboxRecord[]) {
    const ids = sandboxes.map(({ taskId }) => taskId);
    this.wired.push(ids);
    return new Map(ids.filter((id) => this.bad.has(id)).map((id) => [id, new Error(`no room for ${id}`)]));
  }
  async unwire({ taskId }: SandboxRecord): Promise<void> {
    this.unwired.push(taskId);
  }
  sync({ state }: { readonly state: NetworkState }, how?: { readonly full: boolean }) {
    this.syncs.push({ version: state.version, full: how?.full ?? true });
    return this.next();
  }
  async close(): Promise<void> {}
  async destroy(): Promise<void> {}
}

let stateDir: string;
let clock: VirtualClock;
let host: ScriptedPlane;
let again: () => void;

function open() {
  const options = { stateDir, prefix: 'unit-test-of-driver', clock, random: seededRandom(1), log: silentLog };
  return composeDriver(options, (ask) => {
    again = ask;
    return { host, overlay: new ScriptedPlane(), names: new ScriptedPlane() };
  });
}

/** The driver reads real files, for which the clock does not wait. */
async function eventually(count: number): Promise<void> {
  for (let turn = 0; turn < 10_000 && host.syncs.length < count; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(host.syncs.length).toBe(count);
}

const version = (number: number): NetworkState => ({ ...emptyNetworkState, version: number });
const self = {
  nodeId: 'n',
  underlay: '10.0.0.1',
  gatewaySubnet: '172.28.1.0/24',
  ingressAddress: '10.255.0.1',
  dataPathPort: 4789,
  gatewayPools: [],
  ingressPool: '10.255.0.0/16',
};

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'tsc-driver-'));
  clock = new VirtualClock();
  host = new ScriptedPlane();
});
afterEach(() => rmSync(stateDir, { recursive: true, force: true }));

describe('a state', () => {
  test('that comes while another is carried out is carried out next, and overtakes those between', async () => {
    const driver = open();
    await driver.start();
    const gate = deferred<readonly NetworkProblem[]>();
    host.next = () => gate.promise;
    const all = [driver.apply(version(1))];
    await Promise.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    for (const number of [2, 3, 4]) all.push(driver.apply(version(number)));
    host.next = async () => [{ message: 'port taken' }];
    gate.resolve([]);
    expect(await Promise.all(all)).toEqual([[], 2, 3, 4].map((_, at) => (at === 0 ? [] : [{ message: 'port taken' }])));
    expect(host.syncs).toEqual([
      { version: 0, full: true },
      { version: 1, full: false },
      { version: 4, full: false },
    ]);
    await driver.close();
  });

  test('is on disk for the next daemon, readable by nobody else', async () => {
    const driver = open();
    await driver.start();
    await driver.apply(version(7));
    await driver.close();
    expect(statSync(join(stateDir, 'state.json')).mode & 0o777).toBe(0o600);
    const second = open();
    await second.start();
    expect(host.syncs.at(-1)).toEqual({ version: 7, full: true });
    await second.close();
  });

  test('is written once a second, however fast they come, and the last one at the end', async () => {
    const driver = open();
    await driver.start();
    const path = join(stateDir, 'state.json');
    await driver.apply(version(1));
    while (!existsSync(path)) await new Promise((resolve) => setImmediate(resolve));
    for (let number = 2; number <= 20; number++) {
      await driver.apply(version(number));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(decodeState(readFileSync(path, 'utf8')).version).toBe(1);
    await driver.close();
    expect(decodeState(readFileSync(path, 'utf8')).version).toBe(20);
    expect(readdirSync(stateDir).filter((name) => name.endsWith('.new'))).toEqual([]);
  });

  test('keeps everything on its way through the disk', () => {
    const endpoint = { taskId: 't', nodeId: 'n', serviceId: 's', names: ['x'], attachments: [], active: true };
    const state = { ...version(3), self, endpoints: new Map([['t', endpoint]]) };
    expect(decodeState(encodeState(state))).toEqual(state);
  });
});

describe('containers that come at once', () => {
  const never = new AbortController().signal;

  test('are wired together, eight at a time, each with an address and ports of its own', async () => {
    const driver = open();
    await driver.start();
    await driver.apply({ ...version(1), self });
    const hostPorts = [{ protocol: 'tcp', port: 0, target: 80 }] as const;
    const ids = Array.from({ length: 20 }, (_, at) => `t${at}`);
    const sandboxes = await Promise.all(ids.map((id) => driver.attach(request(id, { hostPorts }), never)));
    expect(host.wired.flat().toSorted()).toEqual(ids.toSorted());
    expect(host.wired.length).toBeLessThanOrEqual(5);
    expect(Math.max(...host.wired.map(({ length }) => length))).toBe(8);
    expect(new Set(sandboxes.map(({ gateway }) => gateway)).size).toBe(20);
    expect(new Set(sandboxes.map(({ ports }) => ports[0]?.PublishedPort)).size).toBe(20);
    await driver.close();
  });

  test('fail each for its own reason only, and leave nothing behind', async () => {
    const driver = open();
    await driver.start();
    await driver.apply({ ...version(1), self });
    host.bad.add('t3');
    const ids = ['t1', 't2', 't3', 't4'];
    const results = await Promise.allSettled(ids.map((id) => driver.attach(request(id), never)));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    expect(results[2]).toMatchObject({ reason: { message: 'no room for t3' } });
    expect(host.unwired).toEqual(['t3']);
    expect(await driver.list()).toEqual(['t1', 't2', 't4']);
    expect(readdirSync(join(stateDir, 'sandboxes')).toSorted()).toEqual(['t1', 't2', 't4']);
    await driver.close();
  });

  test('are told so when the driver stops, or nobody wants them any more', async () => {
    const driver = open();
    await driver.start();
    await driver.apply({ ...version(1), self });
    const gate = deferred<readonly NetworkProblem[]>();
    host.next = () => gate.promise;
    const busy = driver.apply({ ...version(2), self });
    const unwanted = new AbortController();
    const results = Promise.allSettled([
      driver.attach(request('t1'), unwanted.signal),
      driver.attach(request('t2'), never),
    ]);
    unwanted.abort();
    gate.resolve([]);
    await busy;
    expect((await results).map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
    await driver.close();
    await expect(driver.attach(request('t3'), never)).rejects.toThrow('the network driver stops');
  });
});

describe('what is in place', () => {
  test('is the last state that every part has carried out', async () => {
    const driver = open();
    expect(driver.inPlace()).toBeUndefined();
    await driver.start();
    const states = [1, 2, 3].map(version);
    const [first = version(0), second = version(0), third = version(0)] = states;
    await driver.apply(first);
    expect(driver.inPlace()).toBe(first);
    host.next = async () => {
      throw new Error('the kernel says no');
    };
    await driver.apply(second);
    expect(driver.inPlace()).toBe(first);
    host.next = async () => [{ message: 'port taken' }];
    await driver.apply(third);
    expect(driver.inPlace()).toBe(third);
    await driver.destroy();
    expect(driver.inPlace()).toBeUndefined();
    await driver.close();
  });

  test('is not what a part says it is behind with, and is told when a retry ends that', async () => {
    const driver = open();
    await driver.start();
    let told = 0;
    driver.onProblems(() => told++);
    host.isBehind = true;
    // Beside a problem that stays, so that the list is the same before and after.
    host.next = async () => [{ message: 'stays' }];
    const wanted = version(1);
    await driver.apply(wanted);
    expect([driver.inPlace()?.version, told]).toEqual([0, 1]);
    host.isBehind = false;
    again();
    await eventually(3);
    await driver.list();
    for (let turn = 0; turn < 100 && driver.inPlace() !== wanted; turn++) await new Promise((r) => setImmediate(r));
    expect(driver.inPlace()).toBe(wanted);
    expect(told).toBe(2);
    await driver.close();
  });
});

describe('problems', () => {
  test('are told when they come and when they go, once each', async () => {
    const driver = open();
    const told: (readonly NetworkProblem[])[] = [];
    driver.onProblems((problems) => told.push(problems));
    await driver.start();
    host.next = async () => [{ message: 'x'.repeat(600) }];
    await driver.apply(version(1));
    await driver.apply(version(2));
    host.next = async () => [];
    again();
    await driver.apply(version(3));
    expect(told.map((problems) => problems.map(({ message }) => message.length))).toEqual([[500], []]);
    expect(host.syncs.at(-1)).toEqual({ version: 3, full: true });
    await driver.close();
  });

  test('a plane that fails is asked again, ever more slowly, with a full comparison', async () => {
    const driver = open();
    await driver.start();
    host.next = async () => {
      throw new Error('the kernel says no');
    };
    expect(await driver.apply(version(1))).toEqual([{ message: "host's network: the kernel says no" }]);
    const delaysMs = [1_000, 2_000, 4_000, 8_000];
    for (const [at, delayMs] of delaysMs.entries()) {
      await clock.advance(delayMs - 1);
      expect(host.syncs.length).toBe(2 + at);
      await clock.advance(1);
      await eventually(3 + at);
      expect(host.syncs.at(-1)?.full).toBe(true);
      await driver.list();
    }
    await driver.close();
  });
});

test('everything is compared once a minute, and no more after the end', async () => {
  const driver = open();
  await driver.start();
  for (let minute = 1; minute <= 3; minute++) {
    await clock.advance(60_000);
    await eventually(minute + 1);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await driver.close();
  await clock.advance(600_000);
  expect(host.syncs.length).toBe(4);
});

describe('gateway addresses', () => {
  test('are given out in order, behind the last one, and skip what is taken', () => {
    expect(nextAddress('172.28.1.0/24', new Set(), undefined)).toBe('172.28.1.2');
    expect(nextAddress('172.28.1.0/24', new Set(['172.28.1.3']), '172.28.1.2')).toBe('172.28.1.4');
    expect(nextAddress('172.28.1.0/24', new Set(), '172.28.1.254')).toBe('172.28.1.2');
    expect(nextAddress('172.28.1.0/24', new Set(), '172.28.7.9')).toBe('172.28.1.2');
  });

  test('end when the subnet is full', () => {
    const all = Array.from({ length: 13 }, (_, at) => `10.0.0.${at + 2}`);
    expect(nextAddress('10.0.0.0/28', new Set(all.slice(1)), '10.0.0.14')).toBe('10.0.0.2');
    expect(nextAddress('10.0.0.0/28', new Set(all), undefined)).toBeUndefined();
  });
});
