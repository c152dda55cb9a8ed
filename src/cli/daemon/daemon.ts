import type { Command } from 'commander';
import { parseDaemonOptions } from '../../node/daemon-options.ts';
import type { Context } from '../context.ts';
import { addDaemonFlags, daemonFlagValues } from './flags.ts';

export function define(command: Command, ctx: Context): void {
  command.usage('[OPTIONS]');
  addDaemonFlags(command, []);
  command.action(async (options: Record<string, unknown>) => {
    const settings = parseDaemonOptions(daemonFlagValues(options), ctx.env);
    const { runDaemon } = await import('../../node/daemon.ts');
    await runDaemon(settings);
  });
}
