/** A register with compare-and-set, the object that Jepsen tests most often; values are compared as text. */
import type { Model } from './types.ts';

/** What a client asks of the register. */
export type RegisterInput =
  | { readonly op: 'read' }
  | { readonly op: 'write'; readonly value: string }
  | { readonly op: 'cas'; readonly from: string; readonly to: string };

/** Of a read the value, of a compare-and-set whether it was done. */
export type RegisterOutput = { readonly value: string } | { readonly done: boolean };

/** The register begins as `nil`. A compare-and-set that was refused saw another value. */
export const registerModel: Model<string, RegisterInput, RegisterOutput> = {
  init: 'nil',
  step(state, input, output) {
    if (input.op === 'write') return { ok: true, state: input.value };
    if (input.op === 'read')
      return { ok: output === undefined || ('value' in output && output.value === state), state };
    const matches = state === input.from;
    const ok = output === undefined || ('done' in output && output.done === matches);
    return { ok, state: matches ? input.to : state };
  },
  readOnly(input, output) {
    return input.op === 'read' || (output !== undefined && 'done' in output && !output.done);
  },
  describe(input, output) {
    if (input.op === 'write') return `write ${input.value}${output === undefined ? ', outcome unknown' : ''}`;
    if (input.op === 'read') return `read → ${output !== undefined && 'value' in output ? output.value : '?'}`;
    const done = output === undefined ? 'outcome unknown' : 'done' in output && output.done ? 'done' : 'refused';
    return `set ${input.to} if ${input.from}: ${done}`;
  },
};
