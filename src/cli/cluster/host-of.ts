import type { Command } from 'commander';

/** `--socket` on `init` and `join` also says where to look for the daemon. */
export function adoptSocket(command: Command): void {
  const socket: unknown = command.opts()['socket'];
  if (typeof socket === 'string' && command.opts()['host'] === undefined) {
    command.setOptionValueWithSource('host', `unix://${socket}`, 'implied');
  }
}
