export { type CheckOptions, checkLinearizable } from './check.ts';
export { type RegisterInput, type RegisterOutput, registerModel } from './register.ts';
export type { Linearizability, Model, Operation, Part, Verdict } from './types.ts';
