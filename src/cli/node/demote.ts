import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { defineRoleChange } from './role.ts';

export function define(command: Command, ctx: Context): void {
  defineRoleChange(command, ctx, 'worker');
}
