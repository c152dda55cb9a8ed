import { describe, expect, test } from 'vitest';
import { silentLog } from '../lib/log.ts';
import { VirtualClock } from '../lib/testing/virtual-clock.ts';
import type { AgentMessage } from '../model/assignment.ts';
import type { NetworkSet, NetworkState, PeerRecord } from '../model/network.ts';
import type { NetworkProblem } from '../model/objects.ts';
import { NetworkInbox } from './network-inbox.ts';
import { NetworkKeeper } from './network-keeper.ts';

function peer(number: number, underlay = '10.0.0.1'): PeerRecord {
  return {
    nodeId: `n${number}`,
    underlay,
    gatewaySubnet: `172.28.${number}.0/24`,
    ingressAddress: `10.255.0.${number}`,
  };
}

function set(
  numbers: Pick<NetworkSet, 'kind' | 'appliesTo' | 'resultsIn'>,
  over: Partial<NetworkSet> = {},
): NetworkSet {
  return {
    ...numbers,
    peers: [],
    removedPeers: [],
    networks: [],
    removedNetworks: [],
    endpoints: [],
    removedEndpoints: [],
    services: [],
    removedServices: [],
    ...over,
  };
}

const full = (over: Partial<NetworkSet> = {}) => set({ kind: 'full', appliesTo: 0, resultsIn: 1 }, over);
const next = (appliesTo: number, over: Partial<NetworkSet> = {}) =>
  set({ kind: 'incremental', appliesTo, resultsIn: appliesTo + 1 }, over);

function peersOf(inbox: NetworkInbox): readonly string[] {
  return [...(inbox.state()?.peers.values() ?? [])].map(({ nodeId, underlay }) => `${nodeId}@${underlay}`);
}

describe('network inbox', () => {
  test('nothing is known before the last part of the first full set', () => {
    const inbox = new NetworkInbox();
    expect(inbox.add(full({ peers: [peer(1)], more: true }))).toBe('incomplete');
    expect(inbox.state()).toBeUndefined();
    expect(inbox.add(full({ peers: [peer(2)] }))).toBe('applied');
    expect(inbox.state()).toMatchObject({ version: 1 });
    expect(peersOf(inbox)).toEqual(['n1@10.0.0.1', 'n2@10.0.0.1']);
  });

  test('a set that does not follow is a gap, also between parts', () => {
    const inbox = new NetworkInbox();
    expect(inbox.add(next(1))).toBe('gap');
    inbox.add(full());
    expect(inbox.add(next(2))).toBe('gap');
    inbox.add(next(1, { more: true }));
    expect(inbox.add(next(2))).toBe('gap');
  });

  test('changes are merged, and a full set of a new session replaces everything', () => {
    const inbox = new NetworkInbox();
    inbox.add(full({ peers: [peer(1), peer(2)] }));
    inbox.add(next(1, { peers: [peer(2, '10.0.0.7')], removedPeers: ['n1'] }));
    expect(peersOf(inbox)).toEqual(['n2@10.0.0.7']);
    inbox.reset();
    inbox.add(full({ peers: [peer(3)] }));
    expect(peersOf(inbox)).toEqual(['n3@10.0.0.1']);
  });

  test('a state that was handed out never changes; what is the same in the next keeps its identity', () => {
    const inbox = new NetworkInbox();
    inbox.add(full({ peers: [peer(1), peer(2)] }));
    const first = inbox.state();
    inbox.reset();
    inbox.add(full({ peers: [peer(1), peer(2, '10.0.0.7')] }));
    const second = inbox.state();
    expect(first?.peers.get('n2')?.underlay).toBe('10.0.0.1');
    expect(second?.peers.get('n1')).toBe(first?.peers.get('n1'));
    expect(second?.peers.get('n2')?.underlay).toBe('10.0.0.7');
    expect(second?.networks).toBe(first?.networks);
  });
});

/** A driver that takes as long as the test wants. */
class SlowNetworks {
  readonly applied: NetworkState[] = [];
  finish: (problems: readonly NetworkProblem[]) => void = () => {};
  fail: (error: Error) => void = () => {};
  problems: (problems: readonly NetworkProblem[]) => void = () => {};
  inPlace?: () => NetworkState | undefined;

  apply(state: NetworkState): Promise<readonly NetworkProblem[]> {
    this.applied.push(state);
    return new Promise((resolve, reject) => {
      this.finish = resolve;
      this.fail = reject;
    });
  }

  onProblems(handle: (problems: readonly NetworkProblem[]) => void): void {
    this.problems = handle;
  }
}

function keeper() {
  const clock = new VirtualClock();
  const networks = new SlowNetworks();
  const sent: AgentMessage[] = [];
  const send = (message: AgentMessage) => void sent.push(message);
  const versions = () => networks.applied.map(({ version }) => version);
  return { clock, networks, sent, versions, keeper: new NetworkKeeper({ networks, clock, log: silentLog, send }) };
}

const taken: NetworkProblem = { message: 'port 80 is taken' };

describe('network keeper', () => {
  test('of the states that wait for a slow driver only the newest is applied, and each is acknowledged when it is in place', async () => {
    const { clock, networks, sent, versions, keeper: kept } = keeper();
    kept.add(full());
    await clock.runUntilIdle();
    for (const version of [1, 2, 3]) kept.add(next(version));
    await clock.runUntilIdle();
    expect(versions()).toEqual([1]);
    networks.finish([]);
    await clock.runUntilIdle();
    expect(versions()).toEqual([1, 4]);
    expect(sent).toEqual([{ kind: 'networkAck', version: 1, problems: [] }]);
    networks.finish([taken]);
    await clock.runUntilIdle();
    expect(sent.slice(1)).toEqual([{ kind: 'networkAck', version: 4, problems: [taken] }]);
  });

  test('problems that come or go by themselves are told with the version in place, and cut short', async () => {
    const { clock, networks, sent, keeper: kept } = keeper();
    networks.problems([taken]); // nobody has said anything yet
    kept.add(full());
    await clock.runUntilIdle();
    networks.finish([taken]);
    await clock.runUntilIdle();
    networks.problems([]);
    networks.problems([{ message: 'x'.repeat(2_000) }]);
    expect(sent.pop()).toMatchObject({ problems: [{ message: 'x'.repeat(500) }] });
    expect(sent).toEqual([
      { kind: 'networkAck', version: 1, problems: [taken] },
      { kind: 'networkAck', version: 1, problems: [] },
    ]);
  });

  test('what an earlier session said is not acknowledged in this one, and nothing is applied before its full set', async () => {
    const { clock, networks, sent, versions, keeper: kept } = keeper();
    kept.add(full());
    await clock.runUntilIdle();
    kept.add(next(1));
    kept.reset();
    networks.finish([]);
    await clock.runUntilIdle();
    expect(sent).toEqual([]);
    expect(versions()).toEqual([1]);
    kept.add(full());
    await clock.runUntilIdle();
    networks.finish([]);
    await clock.runUntilIdle();
    expect(sent).toEqual([{ kind: 'networkAck', version: 1, problems: [] }]);
  });

  test('a state that is not in place is not acknowledged: its problems are told with the last one that was', async () => {
    const { clock, networks, sent, keeper: kept } = keeper();
    let inPlace: NetworkState | undefined;
    networks.inPlace = () => inPlace;
    const refused: NetworkProblem = { message: 'nft says no' };
    kept.add(full());
    await clock.runUntilIdle();
    networks.finish([refused]);
    await clock.runUntilIdle();
    expect(sent).toEqual([]);
    inPlace = networks.applied.at(-1);
    networks.problems([]);
    expect(sent.splice(0)).toEqual([{ kind: 'networkAck', version: 1, problems: [] }]);
    kept.add(next(1));
    await clock.runUntilIdle();
    networks.finish([refused]);
    await clock.runUntilIdle();
    expect(sent.splice(0)).toEqual([{ kind: 'networkAck', version: 1, problems: [refused] }]);
    inPlace = networks.applied.at(-1);
    networks.problems([]);
    expect(sent.splice(0)).toEqual([{ kind: 'networkAck', version: 2, problems: [] }]);
    // What was in place in an earlier session says nothing in this one, whatever its number.
    kept.reset();
    networks.problems([taken]);
    kept.add(full());
    await clock.runUntilIdle();
    networks.finish([refused]);
    await clock.runUntilIdle();
    expect(sent).toEqual([]);
  });

  test('a state that could not be applied is tried again', async () => {
    const { clock, networks, versions, keeper: kept } = keeper();
    kept.add(full());
    await clock.runUntilIdle();
    networks.fail(new Error('no'));
    await clock.advance(1_100);
    expect(versions()).toEqual([1, 1]);
  });

  test('without networks every state is in place at once', async () => {
    const clock = new VirtualClock();
    const sent: AgentMessage[] = [];
    const kept = new NetworkKeeper({
      networks: undefined,
      clock,
      log: silentLog,
      send: (message) => sent.push(message),
    });
    kept.add(full());
    await clock.runUntilIdle();
    expect(sent).toEqual([{ kind: 'networkAck', version: 1, problems: [] }]);
    expect(kept.add(next(7))).toBe(false);
  });
});
