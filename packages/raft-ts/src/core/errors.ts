/** A broken invariant: continuing could lose data, so the node must stop [house rule: bugs are not errors]. */
export class RaftFault extends Error {
  override readonly name: string = 'RaftFault';
}

export function must(condition: boolean, message: string): asserts condition {
  if (!condition) throw new RaftFault(message);
}

export function unreachable(value: never): never {
  throw new RaftFault(`unexpected value: ${String(value)}`);
}
