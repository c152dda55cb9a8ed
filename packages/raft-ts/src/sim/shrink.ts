/** Makes a failing run smaller: without the kinds of fault that it does not need, and no longer than it must be. */
import { type Run, simulate } from './simulate.ts';
import { type FaultClass, faultClasses } from './swarm.ts';
import type { WorldOptions } from './world.ts';

/** The smallest run found that fails in the same way. */
export interface Shrunk {
  readonly without: ReadonlySet<FaultClass>;
  /** The fewest events after which the failure shows. */
  readonly until: number;
  readonly run: Run;
  readonly runs: number;
}

/** Runs the seed again and again, with fewer kinds of fault and fewer events, as long as the same invariant breaks. */
export async function shrink(failed: Run, options: WorldOptions): Promise<Shrunk> {
  const wanted = failed.violation?.invariant;
  let { run, without } = { run: failed, without: new Set(options.without ?? []) };
  let runs = 0;
  const attempt = async (change: Partial<WorldOptions>): Promise<Run | undefined> => {
    runs += 1;
    const again = await simulate({ ...options, without, ...change });
    return again.violation?.invariant === wanted ? again : undefined;
  };
  for (const fault of faultClasses) {
    if (without.has(fault)) continue;
    const fewer = new Set([...without, fault]);
    const again = await attempt({ without: fewer });
    if (again === undefined) continue;
    without = fewer;
    run = again;
  }
  // A run is the same up to the step where it is stopped, so whether the failure shows grows with the step.
  let [low, high] = [0, run.steps];
  while (low + 1 < high) {
    const middle = Math.floor((low + high) / 2);
    if (await attempt({ untilStep: middle })) high = middle;
    else low = middle;
  }
  return { without, until: high, run: (await attempt({ untilStep: high })) ?? run, runs };
}
