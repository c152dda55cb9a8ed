/**
 * The parameters of one run, drawn from its seed. Each kind of fault is on or off, and mild or extreme, by itself, so that
 * some runs are all about one thing and others about everything at once.
 */
import type { CoreLimits } from '../core/types.ts';
import { Chance } from './chance.ts';

/** The kinds of fault; each can be left out of a run. */
export const faultClasses = [
  'drop',
  'delay',
  'duplicate',
  'reorder',
  'partition',
  'crash',
  'power',
  'slow-disk',
  'full-disk',
  'disk-error',
  'skew',
  'jump',
  'pause',
  'lost',
  'membership',
  'transfer',
  'snapshots',
  'tiny-limits',
  'huge',
  'reads',
  'leases',
  'no-pre-vote',
  'no-check-quorum',
  'read-error',
  'damage',
] as const;
/** One of `faultClasses`. */
export type FaultClass = (typeof faultClasses)[number];

/** The parameters of one run. Shares and probabilities are between 0 and 1. */
export interface Swarm {
  readonly nodes: number;
  readonly electionTicks: number;
  /** Share of starts with the option off: 0, 1, or nodes that differ and change their minds. */
  readonly noPreVote: number;
  readonly noCheckQuorum: number;
  readonly tickMs: number;
  readonly latencyMs: number;
  readonly diskLatencyMs: number;
  readonly limits: CoreLimits;
  readonly snapshotEveryEntries: number;
  readonly keepEntries: number;
  readonly segmentBytes: number;
  readonly proposalTimeoutMs: number;
  readonly clients: number;
  readonly keys: number;
  readonly requests: number;
  readonly thinkMs: number;
  readonly readShare: number;
  readonly leaseShare: number;
  readonly commitDelayMs: number;
  /** Share of leadership-sensitive requests that go to any node instead of the presumed leader. */
  readonly strayShare: number;
  readonly hugeShare: number;
  readonly hugeBytes: number;
  readonly drop: number;
  readonly delay: number;
  readonly delayMs: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly skew: number;
  /** Mean time between two of a kind; 0: never. */
  readonly meanMs: Readonly<Record<Timed, number>>;
  /** Probability that a crash is a loss of power. */
  readonly powerShare: number;
}

export const timedFaults = [
  'partition',
  'crash',
  'slow-disk',
  'full-disk',
  'disk-error',
  'jump',
  'pause',
  'lost',
  'membership',
  'transfer',
  'read-error',
  'damage',
] as const;
export type Timed = (typeof timedFaults)[number];

const usualMs: Readonly<Record<Timed, number>> = {
  partition: 5000,
  crash: 4000,
  'slow-disk': 8000,
  'full-disk': 12_000,
  'disk-error': 9000,
  jump: 6000,
  pause: 5000,
  lost: 15_000,
  membership: 2500,
  transfer: 3500,
  'read-error': 8000,
  damage: 12_000,
};

/** Kinds of fault whose parameters are drawn apart from those of all others. */
const ownStream: ReadonlySet<FaultClass> = new Set(['no-pre-vote', 'no-check-quorum', 'read-error', 'damage']);

const sizes = [3, 3, 3, 3, 5, 3, 5, 1, 2, 4, 3, 5, 7] as const;

/** The parameters that belong to a seed. */
export function drawSwarm(seed: number, without: ReadonlySet<FaultClass> = new Set()): Swarm {
  const c = new Chance(seed, 'swarm');
  const on = (fault: FaultClass, probability: number, from = c): boolean => {
    const drawn = from.chance(probability);
    return drawn && !without.has(fault);
  };
  const level = (fault: FaultClass, probability: number, choices: readonly number[], from = c): number => {
    const drawn = from.pick(choices) ?? 0;
    return on(fault, probability, from) ? drawn : 0;
  };
  // Known seeds stay what they are for the rest.
  const streamOf = (fault: FaultClass): Chance => (ownStream.has(fault) ? new Chance(seed, `swarm:${fault}`) : c);
  const meanMs = {} as Record<Timed, number>;
  for (const fault of timedFaults) {
    const share = fault === 'membership' || fault === 'crash' ? 0.6 : 0.35;
    meanMs[fault] = level(fault, share, [1, 1, 2, 0.4], streamOf(fault)) * usualMs[fault];
  }
  const commitDelayMs = c.pick([0, 4, 30]) ?? 0;
  const leaseShare = level('leases', 0.5, [0.5, 1]);
  const noPreVote = level('no-pre-vote', 0.3, [1, 0.5], streamOf('no-pre-vote'));
  const noCheckQuorum = level('no-check-quorum', 0.3, [1, 0.5], streamOf('no-check-quorum'));
  // A lease is a bet on clocks: it holds when they run almost alike and do not leap.
  if (leaseShare > 0) meanMs.jump = 0;
  const tiny = on('tiny-limits', 0.35);
  const snapshots = on('snapshots', 0.6);
  const limits: CoreLimits = {
    maxMessageBytes: tiny ? (c.pick([1, 200, 1000]) ?? 1) : 1 << 16,
    maxInflightMessages: tiny ? (c.pick([1, 2, 4]) ?? 1) : 64,
    maxInflightBytes: tiny ? (c.pick([1, 500, 4000]) ?? 1) : 1 << 20,
    maxUncommittedBytes: tiny ? (c.pick([300, 2000]) ?? 300) : 1 << 20,
    maxApplyBytes: tiny ? (c.pick([1, 300]) ?? 1) : 1 << 20,
    maxPendingReads: tiny ? 2 : 256,
  };
  return {
    nodes: c.pick(sizes) ?? 3,
    electionTicks: c.pick([5, 10, 7]) ?? 10,
    noPreVote,
    // Leases rest on it.
    noCheckQuorum: leaseShare > 0 ? 0 : noCheckQuorum,
    tickMs: 100,
    latencyMs: c.pick([1, 1, 5, 20]) ?? 1,
    diskLatencyMs: c.pick([0.5, 1, 5, 20]) ?? 1,
    limits,
    snapshotEveryEntries: snapshots ? (c.pick([3, 5, 12]) ?? 5) : 10_000,
    keepEntries: snapshots ? (c.pick([0, 1, 5, 20]) ?? 0) : 500,
    segmentBytes: c.pick([1024, 4096, 16_384]) ?? 4096,
    proposalTimeoutMs: c.pick([1000, 2000, 5000]) ?? 2000,
    clients: c.between(1, 6),
    keys: c.between(1, 4),
    requests: c.between(40, 120),
    thinkMs: c.pick([20, 100, 300]) ?? 100,
    readShare: level('reads', 0.9, [0.2, 0.4, 0.6]),
    leaseShare,
    commitDelayMs,
    strayShare: c.pick([0.05, 0.2, 0.5]) ?? 0.2,
    hugeShare: level('huge', 0.2, [0.02, 0.1]),
    hugeBytes: c.pick([3000, 20_000]) ?? 3000,
    drop: level('drop', 0.5, [0.01, 0.05, 0.3]),
    delay: level('delay', 0.5, [0.02, 0.2]),
    delayMs: c.pick([100, 500, 3000]) ?? 100,
    duplicate: level('duplicate', 0.5, [0.02, 0.1, 0.5]),
    reorder: level('reorder', 0.5, [0.1, 0.5, 1]),
    skew: Math.min(level('skew', 0.4, [0.05, 0.3]), leaseShare > 0 ? 0.04 : 1),
    meanMs,
    powerShare: without.has('power') ? 0 : (c.pick([0.5, 1, 0]) ?? 1),
  };
}
