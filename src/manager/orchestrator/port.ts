import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import type { Random } from '../../lib/random.ts';
import type { Store } from '../store/port.ts';

export interface OrchestratorOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** A loop whose write was refused for now (no quorum, no answer) looks again after this. */
export const retryMs = 500;
/** Tasks that a loop looks at before others have a turn: a new leader looks at all of them. */
export const lookedAtPerTurn = 500;
