/** What a task sees of its names before any server is asked: /etc/hosts, /etc/resolv.conf, /etc/hostname. Pure. */
import { withoutPrefix } from '../../model/ip.ts';
import type { SandboxRequest } from './port.ts';

/**
 * Where names are answered, in every container with a gateway: the cluster's own, and those that the resolvers of the task or the host
 * know, which may be on the host's loopback. Images have this address written into them.
 */
const clusterResolver = '127.0.0.11';

export interface HostFiles {
  readonly hosts: string;
  readonly resolvConf: string;
}

export interface TaskFileTexts {
  readonly hosts: string;
  readonly resolvConf: string;
  readonly hostname: string;
}

export function taskFiles(request: SandboxRequest, host: HostFiles, gateway: string | undefined): TaskFileTexts {
  const hostname = `${request.hostname}\n`;
  if (request.mode === 'host') {
    const given = Object.values(request.dns).some((values) => values.length > 0);
    const { nameservers } = request.dns;
    const servers = nameservers.length > 0 ? nameservers : valuesOf(host.resolvConf, 'nameserver');
    const resolv = given ? conf(host.resolvConf, servers, request.dns, []) : host.resolvConf;
    return { hosts: withExtra(host.hosts, request.extraHosts), resolvConf: resolv, hostname };
  }
  const networks = request.attachments.flatMap(({ addresses }) => addresses.map(withoutPrefix));
  const addresses = networks.length > 0 || gateway === undefined ? networks : [gateway];
  // A network's names have no dot; without one there are no names but the host's, and its file says how they are looked for.
  const ndots = networks.length > 0 && !request.dns.options.some((option) => option.startsWith('ndots:'));
  const resolv =
    gateway === undefined
      ? resolvConf(host.resolvConf, request.dns)
      : conf(host.resolvConf, [clusterResolver], request.dns, ndots ? ['ndots:0'] : []);
  return { hosts: hostsFile(addresses, request.hostname, request.extraHosts), resolvConf: resolv, hostname };
}

/** `extra` lines are `IP host [alias…]`. */
export function hostsFile(addresses: readonly string[], hostname: string, extra: readonly string[]): string {
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...extra.map(hostsLine),
    ...addresses.map((address) => `${address}\t${hostname}`),
    '',
  ].join('\n');
}

function withExtra(text: string, extra: readonly string[]): string {
  const end = text === '' || text.endsWith('\n') ? '' : '\n';
  return text + end + extra.map((line) => `${hostsLine(line)}\n`).join('');
}

function hostsLine(line: string): string {
  return line.trim().replace(/\s+/, '\t');
}

/** A task's own settings, else the host's, without resolvers that only the host can reach. */
export function resolvConf(hostFile: string, dns: SandboxRequest['dns']): string {
  const nameservers =
    dns.nameservers.length > 0
      ? dns.nameservers
      : valuesOf(hostFile, 'nameserver').filter((server) => !/^(127\.|::1$)/.test(server));
  return conf(hostFile, nameservers, dns, []);
}

function conf(
  hostFile: string,
  nameservers: readonly string[],
  dns: SandboxRequest['dns'],
  more: readonly string[],
): string {
  const search = dns.search.length > 0 ? dns.search : valuesOf(hostFile, 'search');
  const given = dns.options.length > 0 ? dns.options : valuesOf(hostFile, 'options');
  // Of several `ndots` the last one counts.
  const options = [...(more.length > 0 ? given.filter((option) => !option.startsWith('ndots:')) : given), ...more];
  return [
    ...nameservers.map((server) => `nameserver ${server}`),
    ...(search.length > 0 ? [`search ${search.join(' ')}`] : []),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
    '',
  ].join('\n');
}

function valuesOf(file: string, keyword: string): readonly string[] {
  const lines = file.split('\n').map((line) => line.trim().split(/\s+/));
  return lines.filter(([word]) => word === keyword).flatMap(([, ...values]) => values);
}
