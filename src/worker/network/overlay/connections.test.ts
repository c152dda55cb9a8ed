import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../lib/log.ts';
import { VirtualClock } from '../../../lib/testing/virtual-clock.ts';
import { emptyNetworkState, type NetworkState } from '../../../model/network.ts';
import { ConnectionCleaner } from './connections.ts';

const self = {
  nodeId: 'here',
  underlay: '192.168.0.1',
  gatewaySubnet: '172.28.1.0/24',
  ingressAddress: '10.255.0.1',
  dataPathPort: 4789,
  gatewayPools: [],
  ingressPool: '10.255.0.0/16',
};
const there = { nodeId: 'there', underlay: 'x', gatewaySubnet: '172.28.2.0/24', ingressAddress: '10.255.0.2' };

/** Addresses of active endpoints, and of others. */
function state(active: readonly string[], idle: readonly string[] = [], peers = [there]): NetworkState {
  const all = [...active, ...idle];
  return {
    ...emptyNetworkState,
    self,
    peers: new Map(peers.map((peer) => [peer.nodeId, peer])),
    endpoints: new Map(
      all.map((address) => [
        address,
        {
          taskId: address,
          nodeId: 'there',
          serviceId: 's',
          names: [],
          attachments: [{ networkId: 'net', addresses: [`${address}/16`] }],
          active: active.includes(address),
        },
      ]),
    ),
  };
}

function open() {
  const calls: string[] = [];
  const clock = new VirtualClock();
  const cleaner = new ConnectionCleaner({ log: silentLog, clock }, async (netns, args) => {
    await new Promise((resolve) => setImmediate(resolve));
    calls.push([netns, ...args].join(' '));
  });
  const change = (next: NetworkState, succeeds = true) => {
    cleaner.note('net', 'ns', next);
    if (succeeds) cleaner.clean('net');
  };
  return { calls, clock, cleaner, change };
}

const [a, b] = ['10.1.0.11', '10.1.0.12'];
const all = (address: string) => `ns -D --reply-src ${address}`;
const begun = (address: string) => [
  `ns -D -p udp --reply-src ${address}`,
  `ns -D -p tcp --state SYN_SENT --reply-src ${address}`,
];

describe('connections to endpoints of a network', () => {
  test('that leave lose what has only begun; that are gone or lost lose all', async () => {
    const { calls, clock, cleaner, change } = open();
    change(state([a, b]));
    change(state([a], [b]));
    await clock.advance(490);
    expect(calls).toEqual([]);
    await clock.advance(20);
    await cleaner.idle();
    expect(calls.splice(0)).toEqual(begun(b));
    change(state([a]));
    await cleaner.idle();
    expect(calls.splice(0)).toEqual([all(b)]);
    change(state([], [a], [{ ...there, down: true } as typeof there]));
    await cleaner.idle();
    expect(calls).toEqual([all(a)]);
  });

  test('that leave and come back, or go, within the time for answers under way lose nothing of that', async () => {
    const { calls, clock, cleaner, change } = open();
    change(state([a, b]));
    change(state([], [a, b]));
    change(state([a]));
    await clock.advance(1_000);
    await cleaner.idle();
    expect(calls).toEqual([all(b)]);
  });

  test('on a node that is no longer of the cluster are cut', async () => {
    const { calls, cleaner, change } = open();
    change(state([a]));
    change(state([], [a], []));
    await cleaner.idle();
    expect(calls).toEqual([all(a)]);
  });

  test('are not forgotten when the change of the maps fails first', async () => {
    const { calls, cleaner, change } = open();
    change(state([a, b]));
    change(state([a]), false);
    change(state([a]), false);
    await cleaner.idle();
    expect(calls).toEqual([]);
    change(state([a]));
    await cleaner.idle();
    expect(calls).toEqual([all(b)]);
  });

  test('of very many are all cut: each once, or the whole network at a stroke', async () => {
    const { calls, cleaner, change } = open();
    const many = Array.from({ length: 3_000 }, (_, at) => `10.2.${at >> 8}.${at & 255}`);
    change(state(many.slice(0, 700)));
    change(state([], many.slice(0, 700)));
    change(state([]));
    await cleaner.idle();
    const seen = calls.splice(0);
    for (const address of many.slice(0, 700)) expect(seen).toContain(all(address));
    change(state(many));
    change(state([]));
    await cleaner.idle();
    expect(calls.length).toBeLessThan(10);
    expect(calls).toContain('ns -F');
    // It goes on as before.
    change(state([a]));
    change(state([]));
    await cleaner.idle();
    expect(calls.at(-1)).toBe(all(a));
  });
});
