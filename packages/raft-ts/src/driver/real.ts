/** The real runtime: the only file of raft-ts that touches the machine's clock, timers and randomness. */
import { randomBytes } from 'node:crypto';
import type { Runtime } from '../ports.ts';

/** The clock, timers and randomness of this machine. */
export const nodeRuntime: Runtime = {
  now: () => performance.now(),
  setTimer(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    return () => clearTimeout(handle);
  },
  defer: (run) => void setImmediate(run),
  random: { uint32: () => randomBytes(4).readUInt32LE(0) },
};
