/**
 * What every NetworkDriver promises. The fake passes it in the unit tests; the real one in a child process that was born in a network
 * namespace of its own, which is why this is a list of checks and not a test file.
 */
import { assert } from '../../lib/assert.ts';
import { isKind, messageOf } from '../../lib/errors.ts';
import { emptyNetworkState, type NetworkState } from '../../model/network.ts';
import type { NetworkDriver, SandboxRequest } from './port.ts';

export interface ContractHost {
  readonly driver: NetworkDriver;
  /** Closes the driver and opens another one on the same host. */
  reopen(): Promise<NetworkDriver>;
}

export interface ContractCheck {
  readonly name: string;
  /** On a host without sandboxes and without a state. */
  run(host: ContractHost): Promise<void>;
}

export const networkContract: readonly ContractCheck[] = [
  {
    name: 'attach waits until the node has its place, and until the networks of the task are known',
    async run({ driver }) {
      const attached = note(driver.attach(request('t1', { attachments: onNet }), never));
      await driver.apply(state({ withNet: false }));
      equal(attached.state, 'waits');
      await driver.apply(state({ withNet: true }));
      const sandbox = await attached.done;
      equal(sandbox.gateway, '172.28.9.2');
    },
  },
  {
    name: 'a wait ends when it is no longer wanted, or when the task is removed',
    async run({ driver }) {
      const controller = new AbortController();
      const [aborted, removed] = [
        note(driver.attach(request('t1'), controller.signal)),
        note(driver.attach(request('t2'), never)),
      ];
      controller.abort();
      await failsWith(aborted.done, 'cancelled');
      await driver.detach('t2');
      await failsWith(removed.done, 'cancelled');
      await driver.apply(state({}));
      equal((await driver.list()).length, 0);
    },
  },
  {
    name: 'attach is idempotent, and every task has an address of its own',
    async run({ driver }) {
      await driver.apply(state({}));
      const first = await driver.attach(request('t1'), never);
      equal((await driver.attach(request('t1'), never)).gateway, first.gateway);
      const second = await driver.attach(request('t2'), never);
      assert(first.gateway !== second.gateway, 'two tasks with one address');
      equal([...(await driver.list())].toSorted().join(), 't1,t2');
    },
  },
  {
    name: 'an address that was given back is not given out next',
    async run({ driver }) {
      await driver.apply(state({}));
      const first = await driver.attach(request('t1'), never);
      await driver.detach('t1');
      const second = await driver.attach(request('t2'), never);
      assert(first.gateway !== second.gateway, 'the same address again at once');
    },
  },
  {
    name: 'a full subnet is an error that says so, and a freed address ends it',
    async run({ driver }) {
      await driver.apply(state({ subnet: '172.28.9.0/29' }));
      for (const taskId of ['t1', 't2', 't3', 't4', 't5']) await driver.attach(request(taskId), never);
      await failsWith(driver.attach(request('t6'), never), 'exhausted');
      equal((await driver.list()).length, 5);
      await driver.detach('t3');
      equal((await driver.attach(request('t6'), never)).gateway, '172.28.9.4');
    },
  },
  {
    name: 'a host port that is taken is refused by its number, and is free after the holder is detached',
    async run({ driver }) {
      await driver.apply(state({}));
      const hostPorts = [{ port: 18_080, protocol: 'tcp', target: 80 }];
      const [port] = (await driver.attach(request('t1', { hostPorts }), never)).ports;
      equal(JSON.stringify(port), '{"Protocol":"tcp","TargetPort":80,"PublishedPort":18080,"PublishMode":"host"}');
      const refusal = await failsWith(driver.attach(request('t2', { hostPorts }), never), 'failed_precondition');
      assert(refusal.includes('18080'), refusal);
      await driver.detach('t1');
      await driver.attach(request('t2', { hostPorts }), never);
    },
  },
  {
    name: 'a host port whose number is left open gets a free one, which it keeps',
    async run(host) {
      await host.driver.apply(state({}));
      const hostPorts = [
        { port: 0, protocol: 'tcp', target: 80 },
        { port: 0, protocol: 'udp', target: 53, hostIp: '127.0.0.1' },
      ];
      const numbers = async (driver: NetworkDriver, taskId: string) =>
        (await driver.attach(request(taskId, { hostPorts }), never)).ports.map(
          ({ PublishedPort }) => PublishedPort ?? 0,
        );
      const first = await numbers(host.driver, 't1');
      const second = await numbers(host.driver, 't2');
      assert(
        [...first, ...second].every((port) => port >= 1_024),
        `${first.join()} ${second.join()}`,
      );
      assert(first[0] !== second[0] && first[1] !== second[1], `${first.join()} ${second.join()}`);
      equal((await numbers(await host.reopen(), 't1')).join(), first.join());
    },
  },
  {
    name: "the host's network and none need no place, and have no gateway",
    async run({ driver }) {
      const host = await driver.attach(request('t1', { mode: 'host' }), never);
      const none = await driver.attach(request('t2', { mode: 'none' }), never);
      equal(host.netnsPath, '');
      assert(none.netnsPath !== '', 'none has no namespace');
      equal([host.gateway, none.gateway].join(), ',');
      equal([...(await driver.list())].toSorted().join(), 't1,t2');
    },
  },
  {
    name: 'detach of what is not there is fine',
    async run({ driver }) {
      await driver.detach('nobody');
    },
  },
  {
    name: 'sandboxes and the last state outlive the daemon',
    async run(host) {
      await host.driver.apply(state({}));
      const first = await host.driver.attach(request('t1'), never);
      const driver = await host.reopen();
      equal((await driver.list()).join(), 't1');
      equal((await driver.attach(request('t1'), never)).gateway, first.gateway);
      const second = await driver.attach(request('t2'), never);
      assert(first.gateway !== second.gateway, 'two tasks with one address');
    },
  },
  {
    name: 'a state that was carried out is in place until there is another one, or nothing is left',
    async run({ driver }) {
      const [first, second] = [state({}), state({ withNet: true })];
      await driver.apply(first);
      equal(driver.inPlace(), first);
      await driver.apply(second);
      equal(driver.inPlace(), second);
      await driver.destroy();
      equal(driver.inPlace(), undefined);
    },
  },
  {
    name: 'after destroy nothing is left, and the node may get another place',
    async run({ driver }) {
      await driver.apply(state({}));
      await driver.attach(request('t1'), never);
      await driver.destroy();
      equal((await driver.list()).length, 0);
      await driver.apply(state({ subnet: '172.28.10.0/24' }));
      equal((await driver.attach(request('t1'), never)).gateway, '172.28.10.2');
    },
  },
];

const never = new AbortController().signal;
const onNet = [{ networkId: 'contractnetwork00', addresses: ['10.1.0.5/24'] }];

export function request(taskId: string, more: Partial<SandboxRequest> = {}): SandboxRequest {
  return {
    taskId,
    hostname: taskId,
    mode: 'own',
    attachments: [],
    hostPorts: [],
    dns: { nameservers: [], search: [], options: [] },
    extraHosts: [],
    ...more,
  };
}

function state({ subnet = '172.28.9.0/24', withNet = false }: { subnet?: string; withNet?: boolean }): NetworkState {
  const network = {
    id: 'contractnetwork00',
    name: 'net',
    driver: 'overlay' as const,
    vni: 4_500,
    subnets: [{ subnet: '10.1.0.0/24', gateway: '10.1.0.1' }],
    internal: false,
    options: {},
  };
  return {
    ...emptyNetworkState,
    version: 1,
    self: {
      nodeId: 'node-1',
      underlay: '127.0.0.1',
      gatewaySubnet: subnet,
      ingressAddress: '10.255.0.1',
      dataPathPort: 4789,
      gatewayPools: ['172.28.0.0/14'],
      ingressPool: '10.255.0.0/16',
    },
    networks: withNet ? new Map([[network.id, network]]) : new Map(),
  };
}

/** A promise whose state can be asked for. */
function note<T>(work: Promise<T>): { state: 'waits' | 'done' | 'failed'; readonly done: Promise<T> } {
  const noted: { state: 'waits' | 'done' | 'failed'; readonly done: Promise<T> } = { state: 'waits', done: work };
  work.then(
    () => (noted.state = 'done'),
    () => (noted.state = 'failed'),
  );
  return noted;
}

async function failsWith(work: Promise<unknown>, kind: 'cancelled' | 'exhausted' | 'failed_precondition') {
  const error: unknown = await work.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  );
  assert(isKind(error, kind), `expected ${kind}: ${messageOf(error)}`);
  return messageOf(error);
}

function equal<T>(found: T, wanted: T): void {
  assert(found === wanted, `expected ${String(wanted)}, found ${String(found)}`);
}
