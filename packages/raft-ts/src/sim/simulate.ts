/** One run from its seed: faults until enough requests are answered, then healing, then judgement. */
import { Churn } from './churn.ts';
import { Clients } from './clients.ts';
import { Faults } from './faults.ts';
import { checkLinearizable } from './linearizability/index.ts';
import { Liveness } from './liveness.ts';
import { registers } from './machine.ts';
import { StepLimit, Violation, World, type WorldOptions } from './world.ts';

/** How one run went. */
export interface Run {
  readonly seed: number;
  /** Undefined: all is well. */
  readonly violation?: Violation;
  readonly steps: number;
  readonly virtualMs: number;
  readonly answered: number;
  readonly coverage: ReadonlyMap<string, number>;
  /** The last events before the violation. */
  readonly trace: readonly string[];
}

const faultsMs = 25_000;
const judgeSteps = 400_000;

/**
 * One run of a whole group under faults, then without; it depends on nothing but its options. Never rejects because
 * of a broken invariant: that is in the result.
 */
export async function simulate(options: WorldOptions): Promise<Run> {
  const world = new World(options);
  const clients = new Clients(world);
  let violation: Violation | undefined;
  try {
    await play(world, clients);
  } catch (error) {
    if (error instanceof Violation) violation = error;
    else if (!(error instanceof StepLimit)) violation = broken(world, error);
  }
  return {
    seed: options.seed,
    ...(violation === undefined ? {} : { violation }),
    steps: world.steps,
    virtualMs: world.schedule.nowMs,
    answered: clients.answered,
    coverage: world.coverage.counts,
    trace: violation === undefined ? [] : world.trace(),
  };
}

function broken(world: World, error: unknown): Violation {
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return new Violation(0, what, { step: world.steps, nowMs: world.schedule.nowMs });
}

async function play(world: World, clients: Clients): Promise<void> {
  const churn = new Churn(world);
  const faults = new Faults(world, churn);
  for (const _ of world.founding.voters) {
    const node = world.addNode();
    node.founder = true;
    node.start();
  }
  faults.start();
  clients.start();
  await world.run(() => clients.answered >= world.swarm.requests, faultsMs);
  faults.stop();
  clients.stop();
  await new Liveness(world, churn, clients).run();
  judge(world, clients);
  if (world.violation !== undefined) throw world.violation;
}

/** 13. What clients saw could have come from one register at a time. */
function judge(world: World, clients: Clients): void {
  const { verdict, explanation } = checkLinearizable(registers, clients.history, { maxSteps: judgeSteps });
  if (verdict === 'not-linearizable') world.violate(13, `the history is not linearizable: ${explanation}`);
  world.hit(`history ${verdict}`);
}
