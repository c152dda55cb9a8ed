/** What runs in the containers of jobs: work that ends by itself after a while, sometimes badly. */
import { between, type Random, seededRandom } from '../../src/lib/random.ts';
import type { World } from './world.ts';

const everyMs = 400;

export class Workload {
  readonly #world: World;
  readonly #random: Random;

  constructor(world: World, seed: number) {
    this.#world = world;
    this.#random = seededRandom(seed * 8 + 4);
  }

  start(): void {
    this.#world.clock.timer(everyMs, () => {
      const view = this.#world.leader()?.process?.store.view;
      for (const { executor } of this.#world.agents) {
        for (const taskId of executor.running()) {
          if (view?.get('task', taskId)?.jobIteration === undefined || between(this.#random, 0, 3) > 0) continue;
          executor.exit(taskId, between(this.#random, 0, 9) === 0 ? 1 : 0);
        }
      }
      this.start();
    });
  }
}
