export { type Address, defaultHost, formatAddress, parseAddress } from './address.ts';
export { Client, type ClientOptions, createClient, type Filters, type LogOptions } from './client.ts';
export { ConnectionError, DaemonError } from './errors.ts';
export type { LogFrame } from './streams.ts';
export type * from './types.ts';
