import { expect, test } from 'vitest';
import type { ConfOp, NodeId } from '../../src/core/index.ts';
import type { Host, Options } from './harness.ts';
import { Cluster, Random } from './harness.ts';

const ops = ['voter', 'voter', 'learner', 'remove'] as const;
const transitions = ['auto', 'auto', 'joint-implicit', 'joint-explicit'] as const;

function changeMembers(cluster: Cluster, host: Host, random: Random, everyone: readonly NodeId[]): void {
  const conf = host.core?.status().conf;
  const leave = conf !== undefined && conf.outgoing.length > 0;
  const count = leave ? 0 : 1 + random.below(2);
  const list: ConfOp[] = [];
  for (let i = 0; i < count; i += 1) {
    list.push({ op: random.pick(ops) ?? 'voter', id: random.pick(everyone) ?? 1 });
  }
  cluster.change(host.id, { transition: random.pick(transitions) ?? 'auto', ops: list });
}

function network(cluster: Cluster, random: Random): void {
  // Snapshots and partitions aside, the wire is a bag: any message may be next, be lost or be doubled.
  const at = random.below(random.below(3) === 0 ? cluster.wire.length : Math.min(cluster.wire.length, 4));
  const message = cluster.wire[at];
  if (message === undefined) return;
  const fate = random.below(20);
  if (fate > 0) cluster.wire.splice(at, 1);
  if (fate === 1 && message.type !== 'snapshot') return;
  cluster.deliver(message);
}

function nodeEvent(cluster: Cluster, random: Random, step: number): void {
  const host = (random.below(3) === 0 ? cluster.leader() : undefined) ?? random.pick([...cluster.hosts.values()]);
  if (!host) return;
  if (!host.core) {
    if (random.below(4) === 0) cluster.start(host.id);
    return;
  }
  const dice = random.below(200);
  if (dice < 2) cluster.crash(host.id);
  else if (dice < 30) cluster.propose(host.id, `p${String(step)}`);
  else if (dice < 36) changeMembers(cluster, host, random, [...cluster.hosts.keys()]);
  else if (dice < 40) cluster.compact(host.id, random.below(4));
  else if (dice < 43) host.core.transferLeadership(random.below(2) ? 'best' : 1 + random.below(4));
  else if (dice < 55) cluster.read(host.id, step);
  else if (dice < 57) host.core.peerUnreachable(1 + random.below(5));
  else if (dice === 57) host.core.forgetLeader();
  else if (dice < 59) cluster.isolate(1 + random.below(cluster.hosts.size));
  else if (dice < 64) cluster.heal();
  else cluster.tick(host.id);
  cluster.pump(host);
}

interface Outcome {
  readonly commit: number;
  readonly leaders: number;
  readonly snapshots: number;
  readonly joint: number;
  readonly reads: number;
}

function converge(cluster: Cluster): void {
  cluster.heal();
  for (const host of cluster.hosts.values()) if (!host.core) cluster.start(host.id);
  for (let round = 0; round < 40; round += 1) {
    cluster.run(10);
    const leader = cluster.leader();
    const status = leader?.core?.status();
    if (!leader || !status || status.commit !== status.lastIndex || status.conf.autoLeave) continue;
    const members = [...status.conf.voters, ...status.conf.learners];
    const caughtUp = members.every((id) => cluster.hosts.get(id)?.appliedIndex === status.commit);
    if (caughtUp && cluster.propose(leader.id, 'last').ok) {
      cluster.run(3);
      if (cluster.leader()?.payloads.at(-1) === 'last') return;
    }
  }
  const states = [...cluster.hosts.values()].map((host) => JSON.stringify(host.core?.status()));
  throw new Error(`no convergence after the faults ended:\n${states.join('\n')}`);
}

function settings(random: Random): NonNullable<Options['config']> {
  const checkQuorum = random.below(3) > 0;
  return {
    electionTicks: 4,
    preVote: random.below(3) > 0,
    checkQuorum,
    leaseReads: checkQuorum && random.below(3) === 0,
    forwardProposals: random.below(3) === 0,
  };
}

function walk(seed: number): Outcome {
  const random = new Random(seed);
  const nodes = 1 + random.below(5);
  const tight = random.below(2) === 0;
  const cluster = Cluster.of(
    Array.from({ length: nodes }, (_, i) => i + 1),
    {
      seed,
      config: settings(random),
      limits: tight ? { maxMessageBytes: 4, maxInflightMessages: 2, maxApplyBytes: 6, maxUncommittedBytes: 60 } : {},
    },
  );
  for (let id = nodes + 1; id <= nodes + 2; id += 1) cluster.add(id);
  for (let step = 0; step < 4000; step += 1) {
    const dice = random.below(20);
    const host = random.pick(cluster.live);
    if (dice < 11) network(cluster, random);
    else if (dice < 15 && host) cluster.finishAppend(host);
    else if (dice < 17 && host) cluster.finishApply(host);
    else nodeEvent(cluster, random, step);
    if (cluster.wire.length > 100) for (const message of cluster.wire.splice(0, 50)) cluster.lose(message);
  }
  converge(cluster);
  const hosts = [...cluster.hosts.values()];
  return {
    commit: cluster.ledger.commit,
    leaders: hosts.reduce((sum, host) => sum + host.roles.filter((role) => role === 'leader').length, 0),
    snapshots: cluster.sent.filter((m) => m.type === 'snapshot').length,
    joint: cluster.ledger.joints,
    reads: hosts.reduce((sum, host) => sum + host.reads.length, 0),
  };
}

test('random: no schedule of loss, doubling, reordering, crashes and membership changes breaks safety', () => {
  const from = Number(process.env['RAFT_SEED'] ?? 1);
  const count = Number(process.env['RAFT_SEEDS'] ?? 250);
  const total = { commit: 0, leaders: 0, snapshots: 0, joint: 0, reads: 0 };
  for (let seed = from; seed < from + count; seed += 1) {
    try {
      const outcome = walk(seed);
      for (const key of Object.keys(total) as (keyof Outcome)[]) total[key] += outcome[key];
    } catch (cause) {
      throw new Error(`RAFT_SEED=${String(seed)} RAFT_SEEDS=1 repeats it: ${String(cause)}`, { cause });
    }
  }
  // A walk in which nothing happened would prove nothing.
  if (count >= 100) {
    expect(total.commit).toBeGreaterThan(count * 20);
    expect(total.leaders).toBeGreaterThan(count * 2);
    expect(total.snapshots).toBeGreaterThan(count / 2);
    expect(total.joint).toBeGreaterThan(count / 10);
    expect(total.reads).toBeGreaterThan(count);
  }
}, 60_000);
