import { expect, test } from 'vitest';
import type { Message } from '../../src/core/index.ts';
import type { Host } from './harness.ts';
import { Cluster, Random } from './harness.ts';

const electionTicks = 4;

/**
 * Clocks run in step here, so a lease may be used while the send time of a confirmed round is less than an election timeout
 * less one tick ago. Then nobody may have committed anything that the leader does not know.
 */
class LeaseWatch {
  readonly #cluster: Cluster;
  readonly #sentAt = new Map<string, number>();
  readonly #seen = new Map<number, { term: number; rounds: number; confirmed: number; newest: number }>();
  now = 0;
  reads = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  check(): void {
    for (const host of this.#cluster.hosts.values()) this.#checkHost(host);
  }

  #checkHost(host: Host): void {
    const status = host.core?.status();
    if (!status) return this.#forget(host);
    const seen = this.#seen.get(host.id) ?? { term: 0, rounds: 0, confirmed: 0, newest: 0 };
    this.#seen.set(host.id, seen);
    for (const round of host.rounds.slice(seen.rounds))
      this.#sentAt.set(`${String(host.id)}/${String(round)}`, this.now);
    seen.rounds = host.rounds.length;
    if (status.role !== 'leader' || status.term !== seen.term) {
      seen.newest = 0;
      seen.term = status.term;
    }
    if (status.role === 'leader') seen.newest = host.confirmedRounds.slice(seen.confirmed).at(-1) ?? seen.newest;
    seen.confirmed = host.confirmedRounds.length;
    const index = host.core?.leaseIndex() ?? 0;
    const sentAt = this.#sentAt.get(`${String(host.id)}/${String(seen.newest)}`);
    if (index === 0 || sentAt === undefined || this.now - sentAt >= electionTicks - 1) return;
    this.reads += 1;
    const { commit } = this.#cluster.ledger;
    if (index < commit)
      throw new Error(`lease read at ${String(index)} on ${String(host.id)}, but ${String(commit)} is committed`);
  }

  #forget(host: Host): void {
    host.rounds = [];
    host.confirmedRounds = [];
    this.#seen.delete(host.id);
  }
}

/** Cuts the leader off and does all to elect another at once: restarts, campaigns, orders to campaign that come late. */
function coup(cluster: Cluster, random: Random, late: Message[]): void {
  const leader = cluster.leader();
  if (!leader) return;
  cluster.isolate(leader.id);
  for (const host of cluster.hosts.values()) {
    if (host === leader || random.below(2) > 0) continue;
    if (host.core) cluster.crash(host.id);
    cluster.start(host.id);
  }
  for (const message of late.splice(0)) if (random.below(2) > 0) cluster.deliver(message);
  random.pick(cluster.live.filter((host) => host !== leader))?.core?.campaign();
  cluster.settle();
  for (const host of cluster.live) cluster.propose(host.id, 'coup');
  cluster.settle();
}

function step(cluster: Cluster, random: Random, watch: LeaseWatch, late: Message[]): void {
  const dice = random.below(100);
  const host = random.pick([...cluster.hosts.values()]);
  if (!host) return;
  if (dice < 50) {
    const [message] = cluster.wire.splice(random.below(Math.min(cluster.wire.length, 5)), 1);
    if (message?.type === 'timeout-now' && random.below(2) > 0) late.push(message);
    else if (message && random.below(15) > 0) cluster.deliver(message);
  } else if (dice < 70) {
    cluster.finishAppend(host);
    cluster.finishApply(host);
  } else if (dice < 80) {
    watch.now += 1;
    for (const live of cluster.live) cluster.tick(live.id);
    if (random.below(3) > 0) cluster.settle();
  } else if (dice < 88) {
    if (host.core) cluster.propose(host.id, 'x');
  } else if (dice < 91) {
    cluster.leader()?.core?.transferLeadership('best');
  } else if (dice < 93) {
    if (host.core) cluster.crash(host.id);
    else cluster.start(host.id);
  } else if (dice < 95) {
    coup(cluster, random, late);
  } else if (dice < 96) {
    cluster.isolate(host.id);
    for (let i = 0; i < 2 * electionTicks; i += 1) {
      watch.now += 1;
      for (const live of cluster.live) cluster.tick(live.id);
      cluster.settle();
      watch.check();
    }
    coup(cluster, random, late);
  } else {
    cluster.heal();
  }
  cluster.pump(host);
  watch.check();
}

test('random: with clocks in step no lease read misses a commit, whatever is lost, restarted or transferred', () => {
  const from = Number(process.env['RAFT_SEED'] ?? 1);
  const count = Number(process.env['RAFT_SEEDS'] ?? 60);
  let reads = 0;
  let leaders = 0;
  for (let seed = from; seed < from + count; seed += 1) {
    const random = new Random(seed);
    const config = { electionTicks, leaseReads: true, preVote: random.below(2) > 0 } as const;
    const cluster = Cluster.of([1, 2, 3, 4, 5].slice(0, 2 + random.below(4)), { seed, config });
    const watch = new LeaseWatch(cluster);
    const late: Message[] = [];
    try {
      for (let i = 0; i < 2000; i += 1) step(cluster, random, watch, late);
    } catch (cause) {
      throw new Error(`RAFT_SEED=${String(seed)} RAFT_SEEDS=1 repeats it: ${String(cause)}`, { cause });
    }
    reads += watch.reads;
    for (const host of cluster.hosts.values()) leaders += host.roles.filter((role) => role === 'leader').length;
  }
  if (count < 50) return;
  expect(reads).toBeGreaterThan(count * 20);
  expect(leaders).toBeGreaterThan(count * 3);
}, 60_000);
