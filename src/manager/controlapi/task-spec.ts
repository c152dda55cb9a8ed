import { durationMs } from '../../model/duration.ts';
import { parseAddress } from '../../model/ip.ts';
import { isJobSpec } from '../../model/job.ts';
import { hostIpOf, publishMode } from '../../model/ports.ts';
import {
  drainDelayLabel,
  drainDelayMaxMs,
  failoverDelayLabel,
  failoverDelayMaxMs,
  progressDeadlineLabel,
} from '../../model/service-labels.ts';
import type {
  EndpointSpec,
  GenericResource,
  Placement,
  PortConfig,
  ResourceRequirements,
  Resources,
  RestartPolicy,
  ServiceSpec,
  TaskSpec,
  UpdateConfig,
} from '../../model/spec.ts';
import { parseConstraints } from '../../scheduler/index.ts';
import { checkContainerSpec } from './container-spec.ts';
import { invalid, unsupported } from './context.ts';
import { checkName } from './names.ts';

const replicasMax = 100_000;
/** As many as there are automatic ones. */
const portsMax = 2_768;
const cpuMin = 1_000_000;
const memoryMin = 4 * 1024 * 1024;

/** Everything about a service that can be judged without looking at the rest of the cluster. */
export function checkServiceSpec(spec: ServiceSpec): void {
  checkName(spec.Name);
  checkMode(spec);
  checkTaskSpec(spec.TaskTemplate);
  checkUpdateConfig(spec.UpdateConfig);
  checkUpdateConfig(spec.RollbackConfig);
  checkProgressDeadline(spec.Labels);
  checkDrainDelay(spec.Labels);
  checkEndpointSpec(spec.EndpointSpec);
}

function checkMode(spec: ServiceSpec): void {
  const { Mode: mode } = spec;
  const given = Object.values(mode).filter((value) => value !== undefined).length;
  if (given > 1) throw invalid('must specify only one service mode');
  checkCount('Number of replicas', mode.Replicated?.Replicas);
  checkCount('Maximum concurrent jobs', mode.ReplicatedJob?.MaxConcurrent);
  checkCount('Total completed jobs', mode.ReplicatedJob?.TotalCompletions);
  if (isJobSpec(spec) && spec.UpdateConfig !== undefined) throw invalid('Jobs may not have an update config');
  const isGlobal = mode.Global !== undefined || mode.GlobalJob !== undefined;
  checkFailoverDelay(spec.Labels, isGlobal);
}

function checkFailoverDelay(labels: ServiceSpec['Labels'], isGlobal: boolean): void {
  const text = Object.hasOwn(labels, failoverDelayLabel) ? labels[failoverDelayLabel] : undefined;
  if (text === undefined) return;
  const delayMs = durationMs(text);
  if (delayMs === undefined) throw invalid(`label ${failoverDelayLabel}: invalid duration "${text}"`);
  if (delayMs > failoverDelayMaxMs) throw invalid(`label ${failoverDelayLabel}: at most 24h, not "${text}"`);
  if (isGlobal) throw invalid(`label ${failoverDelayLabel}: tasks of a global service do not move`);
}

function checkCount(what: string, count = 1): void {
  if (!Number.isSafeInteger(count) || count < 0) throw invalid(`${what} must be non-negative`);
  if (count > replicasMax) throw invalid(`${what} must be ${replicasMax} or fewer`);
}

function checkTaskSpec(spec: TaskSpec): void {
  if (spec.Runtime && spec.Runtime !== 'container') throw unsupported(`task runtime "${spec.Runtime}" is`);
  checkContainerSpec(spec.ContainerSpec);
  checkRequirements(spec.Resources);
  checkRestartPolicy(spec.RestartPolicy);
  checkPlacement(spec.Placement);
  checkLogDriver(spec.LogDriver);
}

function checkRequirements(requirements: ResourceRequirements | undefined): void {
  if (requirements?.Limits !== undefined) {
    checkResources(requirements.Limits);
    if ((requirements.Limits.Pids ?? 0) < 0) throw invalid('invalid pids limit: cannot be negative');
  }
  if (requirements?.Reservations !== undefined) {
    checkResources(requirements.Reservations);
    for (const resource of requirements.Reservations.GenericResources ?? []) checkGeneric(resource);
  }
}

function checkResources(resources: Resources): void {
  const cpus = resources.NanoCPUs ?? 0;
  const memory = resources.MemoryBytes ?? 0;
  if (cpus !== 0 && cpus < cpuMin) throw invalid(`invalid cpu value ${cpus / 1e9}: Must be at least ${cpuMin / 1e9}`);
  if (memory !== 0 && memory < memoryMin) throw invalid(`invalid memory value ${memory}: Must be at least 4MiB`);
}

function checkGeneric(resource: GenericResource): void {
  const discrete = resource.DiscreteResourceSpec;
  if (discrete === undefined && resource.NamedResourceSpec !== undefined) {
    throw invalid('invalid generic-resource request, only Discrete type allowed');
  }
  if (discrete === undefined || discrete.Kind === '' || !Number.isSafeInteger(discrete.Value) || discrete.Value < 0) {
    throw invalid('invalid generic-resource request: kind and a non-negative value are needed');
  }
}

function checkRestartPolicy(policy: RestartPolicy | undefined): void {
  if (policy === undefined) return;
  if (policy.Condition && !['none', 'on-failure', 'any'].includes(policy.Condition)) {
    throw invalid(`invalid RestartCondition: "${policy.Condition}"`);
  }
  if ((policy.Delay ?? 0) < 0) throw invalid('TaskSpec: restart-delay cannot be negative');
  if ((policy.Window ?? 0) < 0) throw invalid('TaskSpec: restart-window cannot be negative');
}

function checkPlacement(placement: Placement | undefined): void {
  parseConstraints(placement?.Constraints ?? []);
  for (const preference of placement?.Preferences ?? []) {
    const descriptor = preference.Spread?.SpreadDescriptor ?? '';
    if (!/^(?:node|engine)\.labels\../i.test(descriptor)) {
      throw invalid(
        `invalid placement preference: spread over "${descriptor}", it must be node.labels.KEY or engine.labels.KEY`,
      );
    }
  }
}

function checkLogDriver(driver: TaskSpec['LogDriver']): void {
  const name = driver?.Name ?? '';
  if (name !== '' && name !== 'json-file') throw unsupported(`log driver "${name}" is`);
  const option = Object.keys(driver?.Options ?? {})[0];
  if (option !== undefined) throw unsupported(`log driver option "${option}" is`);
}

/** Zero and empty values mean the default, as `docker stack deploy` sends them; parallelism 0 means "all at once". */
function checkUpdateConfig(config: UpdateConfig | undefined): void {
  if (config === undefined) return;
  if ((config.Delay ?? 0) < 0) throw invalid('TaskSpec: update-delay cannot be negative');
  if ((config.Monitor ?? 0) < 0) throw invalid('TaskSpec: update-monitor cannot be negative');
  const ratio = config.MaxFailureRatio ?? 0;
  if (ratio < 0 || ratio > 1) throw invalid('TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1');
  const action = config.FailureAction ?? '';
  if (!['', 'pause', 'continue', 'rollback'].includes(action))
    throw invalid(`unrecognized update failure action ${action}`);
  const order = config.Order ?? '';
  if (!['', 'stop-first', 'start-first'].includes(order)) throw invalid(`unrecognized update order ${order}`);
}

function checkProgressDeadline(labels: ServiceSpec['Labels']): void {
  const text = Object.hasOwn(labels, progressDeadlineLabel) ? labels[progressDeadlineLabel] : undefined;
  if (text !== undefined && durationMs(text) === undefined)
    throw invalid(`label ${progressDeadlineLabel}: invalid duration "${text}"`);
}

function checkDrainDelay(labels: ServiceSpec['Labels']): void {
  const text = Object.hasOwn(labels, drainDelayLabel) ? labels[drainDelayLabel] : undefined;
  if (text === undefined) return;
  const delayMs = durationMs(text);
  if (delayMs === undefined) throw invalid(`label ${drainDelayLabel}: invalid duration "${text}"`);
  if (delayMs > drainDelayMaxMs) throw invalid(`label ${drainDelayLabel}: at most 60s, not "${text}"`);
}

function checkEndpointSpec(endpoint: EndpointSpec | undefined): void {
  const mode = endpoint?.Mode ?? '';
  const ports = endpoint?.Ports ?? [];
  if (!['', 'vip', 'dnsrr'].includes(mode)) throw invalid(`invalid resolution mode: "${mode}"`);
  if (ports.length > portsMax)
    throw invalid(`EndpointSpec: too many published ports: ${ports.length}, at most ${portsMax}`);
  const taken = new Set<string>();
  for (const port of ports) {
    checkPort(port);
    if (publishMode(port) === 'ingress' && mode === 'dnsrr') {
      throw invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
    }
    const key = `${port.Protocol || 'tcp'}/${port.PublishedPort ?? 0}`;
    const keys = [key, `${key}/${hostIpOf(port) ?? ''}`];
    const isTaken = hostIpOf(port) === undefined ? taken.has(key) : taken.has(`${key}/`) || taken.has(keys[1] ?? '');
    if (port.PublishedPort && isTaken) throw invalid('EndpointSpec: duplicate published ports provided');
    for (const each of keys) taken.add(each);
  }
  for (const port of ports) checkPublishable(port);
}

function checkPublishable(port: PortConfig): void {
  if (port.Protocol === 'sctp') throw unsupported('published ports of protocol sctp are');
  checkHostIp(port);
  if (!port.Source) return;
  if (!['preserve', 'masquerade', 'local'].includes(port.Source)) {
    throw invalid(
      `EndpointSpec: invalid source of port ${port.TargetPort}: "${port.Source}", it must be one of preserve, masquerade, local`,
    );
  }
  if (publishMode(port) === 'host') {
    throw invalid(`EndpointSpec: the source of port ${port.TargetPort} cannot be chosen: it is published in host mode`);
  }
}

function checkHostIp(port: PortConfig): void {
  const hostIp = hostIpOf(port);
  if (hostIp === undefined) return;
  const address = parseAddress(hostIp);
  if (address === undefined) throw invalid(`EndpointSpec: invalid host IP: "${hostIp}"`);
  if (address.family === 6) throw unsupported('publishing on IPv6 addresses of hosts is');
}

function checkPort(port: PortConfig): void {
  const protocol = port.Protocol ?? '';
  const mode = port.PublishMode ?? '';
  if (!['', 'tcp', 'udp', 'sctp'].includes(protocol)) throw invalid(`invalid protocol: "${protocol}"`);
  if (!['', 'ingress', 'host'].includes(mode)) throw invalid(`invalid publish mode: "${mode}"`);
  if (!isPort(port.TargetPort)) throw invalid(`EndpointSpec: invalid target port: ${port.TargetPort}`);
  if (port.PublishedPort !== undefined && port.PublishedPort !== 0 && !isPort(port.PublishedPort)) {
    throw invalid(`EndpointSpec: invalid published port: ${port.PublishedPort}`);
  }
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65_535;
}
