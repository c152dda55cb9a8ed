import type { Context } from './context.ts';
import { describeError } from './describe-error.ts';

/** Does `act` for every argument; those that fail are reported and make the exit code 1, the others are still done. */
export async function forEach(
  ctx: Context,
  args: readonly string[],
  act: (arg: string) => Promise<void>,
): Promise<void> {
  for (const arg of args) {
    try {
      await act(arg);
    } catch (error) {
      ctx.stderr.write(`${describeError(error)}\n`);
      ctx.fail(1);
    }
  }
}
