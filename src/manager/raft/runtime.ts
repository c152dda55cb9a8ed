import type { Runtime } from 'raft-ts';
import type { Clock } from '../../lib/clock.ts';
import type { Random } from '../../lib/random.ts';

/** The daemon's clock and chance in the form raft-ts wants them. */
export function raftRuntime(clock: Clock, random: Random): Runtime {
  return {
    now: () => clock.monotonic(),
    setTimer: (delayMs, run) => clock.timer(delayMs, run),
    defer: (run) => clock.defer(run),
    random: { uint32: () => random.uint32() },
  };
}
