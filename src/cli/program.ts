/**
 * The table of commands. Each verb lives in its own file and is loaded only when it is asked for, so that start-up
 * costs no more than the verb needs.
 */
import type { Command } from 'commander';
import type { Context } from './context.ts';

export interface Verb {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** `service create IMAGE [COMMAND]`: flags after the first argument belong to the container. */
  readonly trailingCommand?: true;
  load(): Promise<{ define(command: Command, ctx: Context): void }>;
}

export interface Noun {
  readonly name: string;
  readonly summary: string;
  readonly verbs: readonly Verb[];
}

const list = ['list'];
const remove = ['remove'];

export const topVerbs: readonly Verb[] = [
  { name: 'daemon', summary: 'Run the tscluster daemon on this machine', load: () => import('./daemon/daemon.ts') },
  {
    name: 'init',
    summary: 'Make this node the first manager of a new cluster',
    load: () => import('./cluster/init.ts'),
  },
  { name: 'join', summary: 'Join a cluster as a manager or worker', load: () => import('./cluster/join.ts') },
  { name: 'leave', summary: 'Leave the cluster', load: () => import('./cluster/leave.ts') },
  {
    name: 'join-token',
    summary: 'Show or rotate the token that nodes join with',
    load: () => import('./cluster/join-token.ts'),
  },
  {
    name: 'update',
    summary: "Change the cluster's settings",
    load: () => import('./cluster/update.ts'),
  },
  {
    name: 'events',
    summary: 'Show what happens in the cluster as it happens: nodes, services, tasks and the rest',
    load: () => import('./system/events.ts'),
  },
  {
    name: 'info',
    summary: 'Show what the daemon knows about itself and its cluster',
    load: () => import('./system/info.ts'),
  },
  { name: 'version', summary: 'Show the versions of client and daemon', load: () => import('./system/version.ts') },
];

export const nouns: readonly Noun[] = [
  {
    name: 'node',
    summary: 'Manage nodes',
    verbs: [
      { name: 'demote', summary: 'Demote one or more nodes from manager', load: () => import('./node/demote.ts') },
      {
        name: 'inspect',
        summary: 'Display detailed information on one or more nodes',
        load: () => import('./node/inspect.ts'),
      },
      { name: 'ls', aliases: list, summary: 'List nodes', load: () => import('./node/ls.ts') },
      { name: 'promote', summary: 'Promote one or more nodes to manager', load: () => import('./node/promote.ts') },
      {
        name: 'ps',
        summary: 'List tasks on one or more nodes, by default this one',
        load: () => import('./node/ps.ts'),
      },
      { name: 'rm', aliases: remove, summary: 'Remove one or more nodes', load: () => import('./node/rm.ts') },
      { name: 'update', summary: 'Update a node', load: () => import('./node/update.ts') },
    ],
  },
  {
    name: 'service',
    summary: 'Manage services',
    verbs: [
      {
        name: 'create',
        summary: 'Create a new service',
        trailingCommand: true,
        load: () => import('./service/create.ts'),
      },
      {
        name: 'explain',
        summary: 'Say why the tasks of a service are where they are, or run nowhere',
        load: () => import('./service/explain.ts'),
      },
      {
        name: 'history',
        summary: 'List the specs that a service had',
        load: () => import('./service/history.ts'),
      },
      {
        name: 'inspect',
        summary: 'Display detailed information on one or more services',
        load: () => import('./service/inspect.ts'),
      },
      { name: 'logs', summary: 'Fetch the logs of a service or task', load: () => import('./service/logs.ts') },
      { name: 'ls', aliases: list, summary: 'List services', load: () => import('./service/ls.ts') },
      { name: 'ps', summary: 'List the tasks of one or more services', load: () => import('./service/ps.ts') },
      { name: 'rm', aliases: remove, summary: 'Remove one or more services', load: () => import('./service/rm.ts') },
      {
        name: 'rollback',
        summary: "Revert changes to a service's configuration",
        load: () => import('./service/rollback.ts'),
      },
      { name: 'scale', summary: 'Scale one or multiple replicated services', load: () => import('./service/scale.ts') },
      { name: 'update', summary: 'Update a service', load: () => import('./service/update.ts') },
    ],
  },
  {
    name: 'task',
    summary: 'Look into tasks',
    verbs: [
      {
        name: 'explain',
        summary: 'Say why a task is where it is, or what it waits for',
        load: () => import('./task/explain.ts'),
      },
    ],
  },
  {
    name: 'stack',
    summary: 'Manage stacks',
    verbs: [
      {
        name: 'config',
        summary: 'Print the final stack file, merged and interpolated',
        load: () => import('./stack/config.ts'),
      },
      {
        name: 'deploy',
        aliases: ['up'],
        summary: 'Deploy a new stack or update an existing one',
        load: () => import('./stack/deploy.ts'),
      },
      { name: 'ls', aliases: list, summary: 'List stacks', load: () => import('./stack/ls.ts') },
      { name: 'ps', summary: 'List the tasks in the stack', load: () => import('./stack/ps.ts') },
      {
        name: 'rm',
        aliases: ['remove', 'down'],
        summary: 'Remove one or more stacks',
        load: () => import('./stack/rm.ts'),
      },
      { name: 'services', summary: 'List the services in the stack', load: () => import('./stack/services.ts') },
    ],
  },
  {
    name: 'network',
    summary: 'Manage networks',
    verbs: [
      { name: 'create', summary: 'Create a network', load: () => import('./network/create.ts') },
      {
        name: 'inspect',
        summary: 'Display detailed information on one or more networks',
        load: () => import('./network/inspect.ts'),
      },
      { name: 'ls', aliases: list, summary: 'List networks', load: () => import('./network/ls.ts') },
      { name: 'prune', summary: 'Remove all networks that no service uses', load: () => import('./network/prune.ts') },
      { name: 'rm', aliases: remove, summary: 'Remove one or more networks', load: () => import('./network/rm.ts') },
    ],
  },
  {
    name: 'secret',
    summary: 'Manage secrets',
    verbs: [
      {
        name: 'create',
        summary: 'Create a secret from a file or standard input',
        load: () => import('./secret/create.ts'),
      },
      {
        name: 'inspect',
        summary: 'Display detailed information on one or more secrets',
        load: () => import('./secret/inspect.ts'),
      },
      { name: 'ls', aliases: list, summary: 'List secrets', load: () => import('./secret/ls.ts') },
      { name: 'rm', aliases: remove, summary: 'Remove one or more secrets', load: () => import('./secret/rm.ts') },
    ],
  },
  {
    name: 'config',
    summary: 'Manage configs',
    verbs: [
      {
        name: 'create',
        summary: 'Create a config from a file or standard input',
        load: () => import('./config/create.ts'),
      },
      {
        name: 'inspect',
        summary: 'Display detailed information on one or more configs',
        load: () => import('./config/inspect.ts'),
      },
      { name: 'ls', aliases: list, summary: 'List configs', load: () => import('./config/ls.ts') },
      { name: 'rm', aliases: remove, summary: 'Remove one or more configs', load: () => import('./config/rm.ts') },
    ],
  },
];

export function matches(verb: Verb, word: string | undefined): boolean {
  return word !== undefined && (verb.name === word || (verb.aliases ?? []).includes(word));
}
