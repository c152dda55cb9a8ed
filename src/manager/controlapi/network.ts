/** Networks: made and removed, never changed. What they are given is the allocator's business. */
import { ClusterError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import { clusterNetworkOf } from '../../model/cluster-labels.ts';
import { type Block, formatBlock, overlaps, parseBlock } from '../../model/ip.ts';
import { lookup } from '../../model/lookup.ts';
import { isPseudoNetwork } from '../../model/network.ts';
import { sharedSubnetOption, vxlanIdOption } from '../../model/network-options.ts';
import type { Network } from '../../model/objects.ts';
import type { NetworkSpec } from '../../model/spec.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import { type Handler, invalid } from './context.ts';
import { checkNetworkSpec } from './network-spec.ts';

const networksMax = 10_000;

function isPredefined(name: string): boolean {
  return isPseudoNetwork(name) || name === 'ingress';
}

export const createNetwork: Handler<'network.create'> = async ({ store, random }, request) => {
  const spec = { ...request.spec, Labels: request.spec.Labels ?? {}, Driver: request.spec.Driver || 'overlay' };
  if (isPredefined(spec.Name)) {
    throw new ClusterError('permission_denied', `operation is not permitted on predefined ${spec.Name} network`);
  }
  checkNetworkSpec(spec);
  const id = newId(random);
  await store.transact((tx) => {
    if (tx.networkByName(spec.Name) !== undefined) {
      throw new ClusterError('already_exists', `network with name ${spec.Name} already exists`);
    }
    if (tx.count('network') >= networksMax) {
      throw new ClusterError('failed_precondition', `too many networks (${networksMax}): remove some first`);
    }
    checkFree(tx, spec);
    tx.create('network', { id, spec });
  });
  return { id, warnings: [] };
};

/** Its subnets and its VXLAN id, if it asks for some, are nobody else's, but for subnets that it wants to share. */
function checkFree(view: ClusterView, spec: NetworkSpec): void {
  const blocks = blocksOf((spec.IPAM?.Config ?? []).map(({ Subnet = '' }) => Subnet));
  const isShared = spec.Options?.[sharedSubnetOption] === 'true';
  const vni = Number(spec.Options?.[vxlanIdOption] ?? 0);
  const { gatewayPools, ingressPool } = clusterNetworkOf(view.cluster());
  checkApart(blocks, blocksOf(gatewayPools), "the cluster's pool for gateways");
  checkApart(blocks, blocksOf([ingressPool]), "the cluster's pool for published ports");
  if (blocks.length === 0 && vni === 0) return;
  for (const other of view.list('network')) {
    if (!isShared) checkApart(blocks, subnetsOf(other), `network ${other.spec.Name}`);
    const taken = other.allocation?.vni ?? Number(other.spec.Options?.[vxlanIdOption] ?? 0);
    if (vni !== 0 && taken === vni) throw invalid(`VXLAN id ${vni} is in use by network ${other.spec.Name}`);
  }
}

function checkApart(blocks: readonly Block[], others: readonly Block[], owner: string): void {
  for (const block of blocks) {
    const other = others.find((one) => overlaps(one, block));
    if (other === undefined) continue;
    throw invalid(
      `invalid pool request: Pool overlaps with other one on this address space: ${formatBlock(block)} overlaps with ${formatBlock(other)} of ${owner}`,
    );
  }
}

const known = new WeakMap<object, readonly Block[]>();

/** What it has been given; before that, what it asked for. Kept, because each new network is compared with all others. */
export function subnetsOf({ spec, allocation }: Network): readonly Block[] {
  const key = allocation ?? spec;
  const kept = known.get(key);
  if (kept !== undefined) return kept;
  const given = allocation?.subnets.map(({ subnet }) => subnet);
  const blocks = blocksOf(given ?? (spec.IPAM?.Config ?? []).map(({ Subnet = '' }) => Subnet));
  known.set(key, blocks);
  return blocks;
}

function blocksOf(texts: readonly string[]): readonly Block[] {
  return texts.map(parseBlock).filter((block) => block !== undefined);
}

export const removeNetwork: Handler<'network.remove'> = async ({ store }, request) => {
  await store.transact((tx) => {
    if (isPredefined(request.id)) {
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
  for (const service of view.servicesUsingNetwork(networkId)) {
    throw new ClusterError('failed_precondition', `network ${networkId} is in use by service ${service.id}`);
  }
  for (const task of view.tasksUsingNetwork(networkId)) {
    if (task.desired > TaskState.running || isTerminal(task.status.state)) continue;
    if (view.get('service', task.serviceId) === undefined) continue;
    throw new ClusterError('failed_precondition', `network ${networkId} is in use by task ${task.id}`);
  }
}
