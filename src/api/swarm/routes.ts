import type { FastifyInstance } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import { checkAddressPlan } from '../../model/address-plan.ts';
import type { Cluster, ClusterNetwork } from '../../model/objects.ts';
import type { ClusterSpec } from '../../model/spec.ts';
import { type ApiContext, freshView, manager } from '../context.ts';
import { decodeBody } from '../decode.ts';
import { flag, versionParam } from '../query.ts';
import {
  clusterSpec,
  type PartialClusterSpec,
  type SwarmInitBody,
  type SwarmJoinBody,
  swarmInitBody,
  swarmJoinBody,
} from '../schemas.ts';
import { convertSwarm } from './convert.ts';

const alreadyPart =
  'This node is already part of a swarm. Use "tscluster leave" to leave this swarm and join another one.';

export function swarmRoutes(app: FastifyInstance, context: ApiContext): void {
  const { respond, node } = context;

  app.get('/swarm', (_request, reply) => respond.json(reply, convertSwarm(requireCluster(context))));

  app.post('/swarm/init', async (request, reply) => {
    const body = decodeBody(request.body, swarmInitBody);
    const network = checkInit(body);
    if (!body.ForceNewCluster) refuseMember(context);
    const { nodeId } = await node.init({
      listenAddr: body.ListenAddr,
      advertiseAddr: body.AdvertiseAddr,
      availability: checkAvailability(body.Availability),
      forceNewCluster: body.ForceNewCluster,
      spec: givenParts(body.Spec) as Partial<ClusterSpec>,
      network,
    });
    return respond.json(reply, nodeId);
  });

  app.post('/swarm/join', async (request, reply) => {
    const body = decodeBody(request.body, swarmJoinBody);
    checkJoin(body);
    refuseMember(context);
    await node.join({
      listenAddr: body.ListenAddr,
      advertiseAddr: body.AdvertiseAddr,
      remoteAddrs: body.RemoteAddrs,
      joinToken: body.JoinToken,
      availability: checkAvailability(body.Availability),
    });
    return respond.empty(reply);
  });

  app.post('/swarm/leave', async (request, reply) => {
    const force = flag(request, 'force');
    checkLeave(context, force);
    await node.leave(force);
    return respond.empty(reply);
  });

  app.post('/swarm/update', async (request, reply) => {
    const backend = manager(context);
    const version = versionParam(request, 'swarm');
    const given = decodeBody(request.body, clusterSpec);
    if (flag(request, 'rotateManagerUnlockKey')) throw autolock();
    const spec = mergeSpec(requireCluster(context).spec, given);
    const rotateWorkerToken = flag(request, 'rotateWorkerToken');
    const rotateManagerToken = flag(request, 'rotateManagerToken');
    await backend.call('cluster.update', { version, spec, rotateWorkerToken, rotateManagerToken });
    return respond.empty(reply);
  });

  app.get('/swarm/unlockkey', (_request, reply) => {
    requireCluster(context);
    return respond.json(reply, { UnlockKey: '' });
  });

  app.post('/swarm/unlock', () => {
    throw autolock();
  });
}

function autolock(): ClusterError {
  return new ClusterError('unimplemented', 'autolock is not supported yet');
}

function requireCluster(context: ApiContext): Cluster {
  const cluster = freshView(context).cluster();
  if (cluster === undefined) throw new ClusterError('unavailable', 'the cluster is not ready yet');
  return cluster;
}

function refuseMember({ node }: ApiContext): void {
  if (!['inactive', 'error'].includes(node.info().state)) throw new ClusterError('unavailable', alreadyPart);
}

/** Answers with what was asked for of the address plan. */
function checkInit(body: SwarmInitBody): Partial<ClusterNetwork> {
  if (body.AutoLockManagers || body.Spec.EncryptionConfig?.AutoLockManagers) throw autolock();
  refuseDataPathAddress(body.DataPathAddr);
  const name = body.Spec.Name ?? '';
  if (name !== '' && name !== 'default') throw new ClusterError('invalid', 'swarm spec must be named "default"');
  const network = askedNetwork(body);
  checkAddressPlan(network);
  return network;
}

/** Zero and empty mean the default. */
function askedNetwork({
  DefaultAddrPool,
  SubnetSize,
  DataPathPort,
  TsCluster,
}: SwarmInitBody): Partial<ClusterNetwork> {
  const { GatewayPools = [], IngressPool = '' } = TsCluster;
  return {
    ...(DefaultAddrPool.length === 0 ? {} : { addressPools: DefaultAddrPool }),
    ...(SubnetSize === 0 ? {} : { subnetSize: SubnetSize }),
    ...(DataPathPort === 0 ? {} : { dataPathPort: DataPathPort }),
    ...(GatewayPools.length === 0 ? {} : { gatewayPools: GatewayPools }),
    ...(IngressPool === '' ? {} : { ingressPool: IngressPool }),
  };
}

function refuseDataPathAddress(addr: string): void {
  if (addr === '') return;
  throw new ClusterError(
    'unimplemented',
    'a data path address of its own is not supported yet: traffic between containers uses the advertised address',
  );
}

function checkJoin(body: SwarmJoinBody): void {
  refuseDataPathAddress(body.DataPathAddr);
  if (body.RemoteAddrs.length === 0) throw new ClusterError('invalid', 'at least 1 RemoteAddr is required to join');
  if (body.JoinToken === '') throw new ClusterError('invalid', 'a join token is required to join');
}

function checkAvailability(availability: string): string {
  if (!['', 'active', 'pause', 'drain'].includes(availability)) {
    throw new ClusterError('invalid', `invalid Availability: "${availability}"`);
  }
  return availability || 'active';
}

/** Leaving a manager can cost the quorum: Docker wants to hear `--force` for it. */
function checkLeave(context: ApiContext, force: boolean): void {
  const info = context.node.info();
  if (info.state === 'inactive') throw new ClusterError('unavailable', 'This node is not part of a swarm');
  const backend = context.node.manager();
  if (backend === undefined || force) return;
  const text = 'You are attempting to leave the swarm on a node that is participating as a manager. ';
  const members = backend.members();
  if (members.length <= 1) {
    const last =
      'Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ';
    throw new ClusterError('unavailable', text + last);
  }
  const left = members.filter((member) => member.leader || member.reachability === 'reachable').length - 1;
  const quorum = Math.floor(members.length / 2) + 1;
  const consequence =
    left >= quorum
      ? ''
      : `Removing this node leaves ${left} managers out of ${members.length}. Without a Raft quorum your swarm will be inaccessible. ` +
        'The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. ';
  throw new ClusterError('unavailable', `${text}${consequence}Use \`--force\` to suppress this message.`);
}

/** Zero means the default in what `docker swarm init` sends. */
function givenParts(spec: PartialClusterSpec): Record<string, unknown> {
  const parts = Object.entries(spec).map(([key, value]) => [key, isGroup(value) ? nonZero(value) : value] as const);
  return Object.fromEntries(
    parts.filter(([, value]) => value !== '' && !(isGroup(value) && Object.keys(value).length === 0)),
  );
}

function mergeSpec(stored: ClusterSpec, given: PartialClusterSpec): ClusterSpec {
  return {
    Name: given.Name || stored.Name,
    Labels: given.Labels === undefined ? stored.Labels : (given.Labels as ClusterSpec['Labels']),
    Orchestration: { ...stored.Orchestration, ...given.Orchestration },
    Raft: { ...stored.Raft, ...nonZero(given.Raft) },
    Dispatcher: { ...stored.Dispatcher, ...nonZero(given.Dispatcher) },
    CAConfig: { ...stored.CAConfig, ...nonZero(given.CAConfig) },
    TaskDefaults: { ...stored.TaskDefaults, ...given.TaskDefaults },
    EncryptionConfig: { ...stored.EncryptionConfig, ...given.EncryptionConfig },
  };
}

function nonZero<T extends object>(group: T | undefined): Partial<T> {
  return Object.fromEntries(Object.entries(group ?? {}).filter(([, value]) => value !== 0)) as Partial<T>;
}

function isGroup(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
