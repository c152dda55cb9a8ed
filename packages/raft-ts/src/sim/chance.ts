/**
 * Chance under a name: every part of a simulation draws from its own stream, so that one more draw in one place does not
 * reshuffle all the others, and switching a fault off leaves the rest of the run as it was for as long as possible.
 */
import type { RandomSource } from '../core/types.ts';
import { seededRandom } from './runtime.ts';

/** A stream of chance of its own, from the run's seed and a name. */
export class Chance implements RandomSource {
  readonly #source: RandomSource;

  constructor(seed: number, name: string) {
    let hash = (0x811c9dc5 ^ seed) >>> 0;
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0;
    this.#source = seededRandom(Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) ^ Math.imul(seed, 0x9e3779b1));
  }

  uint32(): number {
    return this.#source.uint32();
  }

  /** In [0, 1). */
  unit(): number {
    return this.#source.uint32() / 2 ** 32;
  }

  below(limit: number): number {
    return limit <= 1 ? 0 : this.#source.uint32() % limit;
  }

  /** An integer in [low, high]. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }

  shuffle<T>(items: readonly T[]): T[] {
    const left = [...items];
    const shuffled: T[] = [];
    while (left.length > 0) shuffled.push(...left.splice(this.below(left.length), 1));
    return shuffled;
  }

  /** Waiting time of a Poisson process, cut off at eight times the mean. */
  exponential(mean: number): number {
    return Math.min(-Math.log(1 - this.unit()), 8) * mean;
  }
}
