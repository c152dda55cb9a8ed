import type { Command } from 'commander';
import type { ApiCluster, ApiInfo } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { inspectFormatHelp } from '../options.ts';
import { compileTemplate } from '../output/template.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('-f, --format <template>', inspectFormatHelp)
    .action(async (options: { format?: string }) => {
      const info = await (await ctx.client()).info();
      const format = options.format ?? '';
      if (format === '') ctx.stdout.write(infoText(info));
      else if (format === 'json') ctx.stdout.write(`${JSON.stringify(info)}\n`);
      else ctx.stdout.write(`${compileTemplate(format).render(info)}\n`);
    });
}

function row(label: string, value: unknown, indent = 0): string {
  return value === undefined || value === null || value === ''
    ? ''
    : `${' '.repeat(indent)}${label}: ${String(value)}\n`;
}

function infoText(info: ApiInfo): string {
  const memory = Number(info['MemTotal'] ?? 0) / 1024 ** 3;
  return [
    row('Name', info.Name),
    row('Server version', info.ServerVersion),
    row('Containers', info['Containers']),
    row('Running', info['ContainersRunning'], 1),
    row('Stopped', info['ContainersStopped'], 1),
    row('Storage driver', info['Driver']),
    clusterText(info.Swarm),
    row('Operating system', info['OperatingSystem']),
    row('Architecture', info['Architecture']),
    row('Kernel version', info['KernelVersion']),
    row('CPUs', info['NCPU']),
    memory > 0 ? row('Total memory', `${memory.toFixed(2)}GiB`) : '',
    row('Data directory', info['DockerRootDir']),
  ].join('');
}

function addressText({ DefaultAddrPool, SubnetSize, DataPathPort, TsCluster }: ApiCluster): string {
  return [
    row('Default address pools', DefaultAddrPool?.join(', '), 1),
    row('Subnet size', SubnetSize, 1),
    row('Gateway pools', TsCluster?.GatewayPools?.join(', '), 1),
    row('Ingress pool', TsCluster?.IngressPool, 1),
    row('Data path port', DataPathPort, 1),
  ].join('');
}

function clusterText(swarm: ApiInfo['Swarm']): string {
  const active = swarm.LocalNodeState === 'active' || swarm.LocalNodeState === 'pending';
  const managers = (swarm.RemoteManagers ?? []).map((manager) => `  ${manager.Addr}\n`).sort();
  return [
    row('Cluster', swarm.LocalNodeState),
    row('Error', swarm.Error, 1),
    active ? row('Node ID', swarm.NodeID, 1) : '',
    active ? row('Is manager', swarm.ControlAvailable, 1) : '',
    swarm.ControlAvailable
      ? row('Cluster ID', swarm.Cluster?.ID, 1) + row('Managers', swarm.Managers, 1) + row('Nodes', swarm.Nodes, 1)
      : '',
    swarm.ControlAvailable ? addressText(swarm.Cluster ?? {}) : '',
    active ? row('Node address', swarm.NodeAddr, 1) : '',
    active && managers.length > 0 ? ` Manager addresses:\n${managers.join('')}` : '',
  ].join('');
}
