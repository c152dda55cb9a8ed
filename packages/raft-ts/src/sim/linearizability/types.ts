/** What a client saw of one operation. */
export interface Operation<Input, Output> {
  /** Who asked; only for people: the order is judged by `call` and `return` alone. */
  readonly process: number;
  readonly input: Input;
  /** Undefined where the outcome is unknown. */
  readonly output: Output | undefined;
  /** When it was asked, in any unit that only grows. */
  readonly call: number;
  /** When it was answered; `Infinity` where the outcome is unknown: it may take effect at any time after `call`, or never. */
  readonly return: number;
}

/** The specification: what one object, used by one client at a time, would do. Must be deterministic. */
export interface Model<State, Input, Output> {
  readonly init: State;
  /**
   * Whether `output` is what `input` gives in `state`, and the state after it. Never changes `state` itself. An `output` of
   * undefined is an outcome nobody saw and is always right.
   */
  step(state: State, input: Input, output: Output | undefined): { readonly ok: boolean; readonly state: State };
  /** Operations of different keys concern different objects, each beginning at `init`; they are judged apart. */
  key?(input: Input): string;
  /** The same text exactly for equal states. Without it: the state itself if it is a primitive value, else its JSON. */
  hash?(state: State): string | number;
  /** True for what never changes any state, such as a read. Changes no verdict; it saves most of the search. */
  readOnly?(input: Input, output: Output | undefined): boolean;
  /** For the explanation. */
  describe?(input: Input, output: Output | undefined): string;
}

/** `unknown`: the steps allowed did not suffice. */
export type Verdict = 'linearizable' | 'not-linearizable' | 'unknown';

/** The operations of one key. */
export interface Part<Input, Output> {
  readonly key: string;
  readonly verdict: Verdict;
  /** A valid order of the operations; if there is none, the longest valid beginning that the search found. */
  readonly order: readonly Operation<Input, Output>[];
  /** Where `order` ends and why nothing can follow, for people; empty if linearizable. */
  readonly explanation: string;
}

/** What `checkLinearizable` found. */
export interface Linearizability<Input, Output> {
  /** `not-linearizable` if any part is; `unknown` if `maxSteps` did not suffice for the rest. */
  readonly verdict: Verdict;
  readonly parts: readonly Part<Input, Output>[];
  /** Calls of `Model.step`. */
  readonly steps: number;
  /** Explanations of all parts that have one. */
  readonly explanation: string;
}
