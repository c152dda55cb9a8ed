import type { RaftMemberInfo } from '../../model/control.ts';
import type { Node } from '../../model/objects.ts';
import { head } from '../common.ts';
import { tlsInfo } from '../swarm/convert.ts';

/** `rootPem`: a node that has registered has a certificate of this root, or it could not have; there is no other root yet. */
export function convertNode(node: Node, rootPem: string) {
  const { description, status } = node;
  return {
    ...head(node),
    Spec: node.spec,
    Description: {
      Hostname: description?.hostname ?? '',
      Platform: { Architecture: description?.platform.architecture ?? '', OS: description?.platform.os ?? '' },
      Resources: description?.resources ?? {},
      Engine: {
        EngineVersion: description?.engine.version ?? '',
        Labels: description?.engine.labels ?? {},
        Plugins: (description?.engine.plugins ?? []).map(({ type, name }) => ({ Type: type, Name: name })),
      },
      ...(description === undefined || rootPem === '' ? {} : { TLSInfo: tlsInfo(rootPem) }),
    },
    Status: {
      State: status.state,
      ...(status.message === '' ? {} : { Message: status.message }),
      Addr: status.addr,
    },
    ...ownFacts(node),
  };
}

/** What Docker has no place for: the node's own addresses in the cluster, and what it could not do about networks. */
function ownFacts({ network, networkProblems = [] }: Node) {
  if (network === undefined && networkProblems.length === 0) return {};
  const problems = networkProblems.map(({ serviceId, networkId, message }) => ({
    ...(serviceId === undefined ? {} : { ServiceID: serviceId }),
    ...(networkId === undefined ? {} : { NetworkID: networkId }),
    Message: message,
  }));
  return {
    TsCluster: {
      ...(network === undefined
        ? {}
        : { GatewaySubnet: network.gatewaySubnet, IngressAddress: network.ingressAddress }),
      NetworkProblems: problems,
    },
  };
}

/** Undefined for nodes outside the Raft group. */
export function managerStatus(node: Node, member: RaftMemberInfo | undefined) {
  if (node.manager === undefined && member === undefined) return undefined;
  return {
    ...(member?.leader ? { Leader: true } : {}),
    Reachability: member?.leader ? 'reachable' : (member?.reachability ?? 'unknown'),
    Addr: member?.addr ?? node.manager?.addr ?? '',
  };
}
