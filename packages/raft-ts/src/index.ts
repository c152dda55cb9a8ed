export * from './codec/index.ts';
export * from './core/index.ts';
export * from './driver/index.ts';
export { nodeRuntime } from './driver/real.ts';
export * from './ports.ts';
export * from './transport/memory.ts';
