/** Rolling updates: which places of a service to bring to its new spec, in which order, and how. Pure. */
import type { Updater } from '../seat.ts';
import { replaceTask } from './replace.ts';
import { rollout } from './builtin.ts';

export function createUpdater(): Updater {
  return { rollout, replace: replaceTask };
}
