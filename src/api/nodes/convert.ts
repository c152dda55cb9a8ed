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
