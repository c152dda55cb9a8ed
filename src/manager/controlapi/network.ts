/**
 * Networks. Overlays are not built: only the default network that `docker stack deploy` makes for every stack is accepted,
 * as a name that services may refer to, with a warning that says what it does not do.
 */
import { ClusterError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import { lookup } from '../../model/lookup.ts';
import type { NetworkSpec } from '../../model/spec.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import { type Handler, unsupported } from './context.ts';
import { checkName } from './names.ts';

const stackLabel = 'com.docker.stack.namespace';
const predefined = new Set(['host', 'none', 'bridge', 'ingress']);

export const networkWarning =
  "overlay networks are not built yet: tasks of this network reach each other only on the same host's bridge, service names do not resolve";

export const createNetwork: Handler<'network.create'> = async ({ store, random }, { spec }) => {
  if (predefined.has(spec.Name)) {
    throw new ClusterError('permission_denied', `operation is not permitted on predefined ${spec.Name} network`);
  }
  checkName(spec.Name);
  checkBuilt(spec);
  const id = newId(random);
  await store.transact((tx) => {
    if (tx.networkByName(spec.Name) !== undefined) {
      throw new ClusterError('already_exists', `network with name ${spec.Name} already exists`);
    }
    tx.create('network', { id, spec: { ...spec, Labels: spec.Labels ?? {} } });
  });
  return { id, warnings: [networkWarning] };
};

function checkBuilt(spec: NetworkSpec): void {
  if (spec.Driver !== 'overlay') throw unsupported(`network driver "${spec.Driver}" is`);
  const stack = spec.Labels?.[stackLabel];
  if (stack === undefined || spec.Name !== `${stack}_default`) throw unsupported('overlay networks are');
  if (spec.Attachable) throw unsupported('attachable networks are');
  if (spec.Internal) throw unsupported('internal networks are');
  if (spec.Ingress) throw unsupported('ingress networks are');
  if (spec.ConfigOnly || spec.ConfigFrom?.Network) throw unsupported('networks of configurations are');
  if (spec.EnableIPv6) throw unsupported('IPv6 networks are');
  if (spec.EnableIPv4 === false) throw unsupported('networks without IPv4 are');
  if (spec.Scope && spec.Scope !== 'swarm') throw unsupported(`networks of scope "${spec.Scope}" are`);
  const option = Object.keys(spec.Options ?? {})[0];
  if (option !== undefined) throw unsupported(`network option "${option}" is`);
  const ipam = spec.IPAM;
  if (ipam?.Driver && ipam.Driver !== 'default') throw unsupported(`IPAM driver "${ipam.Driver}" is`);
  if ((ipam?.Config ?? []).length > 0 || Object.keys(ipam?.Options ?? {}).length > 0) {
    throw unsupported('subnets and other IPAM settings of networks are');
  }
}

export const removeNetwork: Handler<'network.remove'> = async ({ store }, request) => {
  await store.transact((tx) => {
    if (predefined.has(request.id)) {
      throw new ClusterError('permission_denied', `${request.id} is a pre-defined network and cannot be removed`);
    }
    const network = lookup(tx, 'network', request.id);
    checkUnused(tx, network.id);
    tx.remove('network', network.id);
  });
  return {};
};

/** A service, or a task that still runs and is meant to. Tasks of removed services stop on their own. */
function checkUnused(view: ClusterView, networkId: string): void {
  for (const service of view.list('service')) {
    if (service.spec.TaskTemplate.Networks?.some((network) => network.Target === networkId)) {
      throw new ClusterError('failed_precondition', `network ${networkId} is in use by service ${service.id}`);
    }
  }
  for (const task of view.list('task')) {
    if (task.desired > TaskState.running || isTerminal(task.status.state)) continue;
    if (view.get('service', task.serviceId) === undefined) continue;
    if (task.spec.Networks?.some((network) => network.Target === networkId)) {
      throw new ClusterError('failed_precondition', `network ${networkId} is in use by task ${task.id}`);
    }
  }
}
