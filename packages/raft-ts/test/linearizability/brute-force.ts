/** The definition of linearizability, word for word: tries every order. Only for a handful of operations. */
import type { Model, Operation } from 'raft-ts/sim';

export function isLinearizable<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
): boolean {
  const keys = new Set(history.map(({ input }) => model.key?.(input) ?? ''));
  return [...keys].every((key) =>
    someOrder(
      model,
      model.init,
      history.filter(({ input }) => (model.key?.(input) ?? '') === key),
    ),
  );
}

function someOrder<State, Input, Output>(
  model: Model<State, Input, Output>,
  state: State,
  left: readonly Operation<Input, Output>[],
): boolean {
  if (left.every((operation) => operation.return === Number.POSITIVE_INFINITY)) return true;
  return left.some((operation) => {
    if (left.some((other) => other.return < operation.call)) return false;
    const next = model.step(state, operation.input, operation.output);
    const others = left.filter((other) => other !== operation);
    return next.ok && someOrder(model, next.state, others);
  });
}
