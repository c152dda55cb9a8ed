/** A store of texts by key, as in the key-value histories that come with porcupine; each key begins with an empty text. */
import type { Model } from 'raft-ts/sim';

export type TextsInput =
  | { readonly op: 'get'; readonly key: string }
  | { readonly op: 'put' | 'append'; readonly key: string; readonly value: string };

/** What a get gave; of the others only that they were done. */
export interface TextsOutput {
  readonly value: string;
}

/** The state is the text of one key: keys are judged apart. */
export const textsModel: Model<string, TextsInput, TextsOutput> = {
  init: '',
  step(state, input, output) {
    if (input.op === 'get') return { ok: output === undefined || output.value === state, state };
    return { ok: true, state: input.op === 'put' ? input.value : state + input.value };
  },
  key: ({ key }) => key,
  readOnly: ({ op }) => op === 'get',
  describe(input, output) {
    if (input.op === 'get') return `get ${input.key} → ${output === undefined ? '?' : JSON.stringify(output.value)}`;
    const unknown = output === undefined ? ', outcome unknown' : '';
    return `${input.op} ${input.key} ${JSON.stringify(input.value)}${unknown}`;
  },
};
