/**
 * What the daemon and the names process say to each other over the process's socket: lines of JSON. The process greets; then the daemon
 * says all that there is, and afterwards what changed. Each `commit` is answered once the names are in place.
 */
import type { Socket } from 'node:net';
import type { Changes } from './records.ts';

/** A process that speaks another one is replaced. */
export const protocolVersion = 1;
/** Records in one line: what the process does in one turn. */
export const recordsPerLine = 500;
const lineBytesMax = 16 * 1024 * 1024;

export interface Hello {
  readonly kind: 'hello';
  readonly protocol: number;
  /** Of the program: after an upgrade the process is replaced, too. */
  readonly version: string;
  readonly pid: number;
}

export interface Listen {
  readonly address: string;
  readonly port: number;
}

export interface Update {
  readonly kind: 'update';
  /** This and what follows up to the commit replaces everything. */
  readonly reset?: true;
  readonly changes: Changes;
}

export interface Commit {
  readonly kind: 'commit';
  readonly number: number;
  /** Absent while the node has no place in the networks. */
  readonly listen?: Listen;
}

export type Order = Update | Commit | { readonly kind: 'end' };

/** `listening`: the address that could not be had at the last commit is there now. */
export type Report =
  | Hello
  | { readonly kind: 'done'; readonly number: number; readonly problem?: string }
  | { readonly kind: 'listening' };

export function say(socket: Socket, message: Order | Report): void {
  if (!socket.destroyed) socket.write(`${JSON.stringify(message)}\n`);
}

/** Calls for each whole line; destroys the connection at what is no message. */
export function onMessages<M extends Order | Report>(socket: Socket, handle: (message: M) => void): void {
  let received: Buffer[] = [];
  let bytes = 0;
  socket.on('data', (chunk: Buffer) => {
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      const line = Buffer.concat([...received, rest.subarray(0, end)]).toString('utf8');
      [received, bytes, rest] = [[], 0, rest.subarray(end + 1)];
      const message = parse(line);
      if (message === undefined) return void socket.destroy();
      handle(message as M);
    }
    bytes += rest.length;
    if (rest.length > 0) received.push(rest);
    if (bytes > lineBytesMax) socket.destroy();
  });
}

/** Both ends are ours and of one version, so the kind is enough to know a message by. */
function parse(line: string): unknown {
  try {
    const message: unknown = JSON.parse(line);
    return typeof message === 'object' && message !== null && 'kind' in message ? message : undefined;
  } catch {
    return undefined;
  }
}
