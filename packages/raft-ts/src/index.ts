export * from './core/types.ts';
export * from './ports.ts';
