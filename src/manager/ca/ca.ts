/**
 * Gives certificates to nodes: a new one to whoever shows a join token, a fresh one to whoever shows its old one. The node
 * object is written before the certificate leaves, so that every certificate in the world has an entry here.
 * Runs on the leader.
 */
import type { Clock } from '../../lib/clock.ts';
import { ClusterError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Random } from '../../lib/random.ts';
import { nanosToMs } from '../../model/defaults.ts';
import type { Cluster, Node } from '../../model/objects.ts';
import type { Availability, NodeRole } from '../../model/spec.ts';
import { issueNodeCertificate, requestKey } from '../../pki/certificate.ts';
import { roleOfToken } from '../../pki/join-token.ts';
import type { Identity, IssuedCertificate, IssueRequest } from '../../rpc/port.ts';
import type { Draft, Store } from '../store/port.ts';

export interface CertificateAuthorityOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
}

const lifeMsMin = 3600_000;

export class CertificateAuthority {
  readonly #options: CertificateAuthorityOptions;

  constructor(options: CertificateAuthorityOptions) {
    this.#options = options;
  }

  async rootCa(): Promise<{ caPem: string }> {
    return { caPem: this.#cluster().rootCa.certPem };
  }

  /** Errors: `permission_denied` for a wrong token, `invalid` for a malformed request, `not_found` for a removed node. */
  async issue(request: IssueRequest, caller: Identity | undefined): Promise<IssuedCertificate> {
    requestKey(request.csrPem); // refuse before anything is written
    if (request.token !== '') return this.#admit(request);
    if (caller === undefined)
      throw new ClusterError('permission_denied', 'A valid join token is necessary to join this cluster');
    return this.#renew(request, caller);
  }

  async #admit(request: IssueRequest): Promise<IssuedCertificate> {
    const role = roleOfToken(request.token, this.#cluster().rootCa.joinTokens);
    if (role === undefined)
      throw new ClusterError('permission_denied', 'A valid join token is necessary to join this cluster');
    const nodeId = newId(this.#options.random);
    const node = newNode(nodeId, role, availabilityOf(request.availability), this.#options.clock.now());
    await this.#options.store.transact((tx) => tx.create('node', node));
    return this.#sign(request.csrPem, nodeId, role);
  }

  async #renew(request: IssueRequest, caller: Identity): Promise<IssuedCertificate> {
    const node = this.#options.store.view.get('node', caller.nodeId);
    if (node === undefined) throw new ClusterError('not_found', `node ${caller.nodeId} not found`);
    return this.#sign(request.csrPem, node.id, node.role);
  }

  #sign(csrPem: string, nodeId: string, role: NodeRole): IssuedCertificate {
    const cluster = this.#cluster();
    const certPem = issueNodeCertificate(cluster.rootCa, {
      csrPem,
      nodeId,
      role,
      clusterId: cluster.id,
      now: this.#options.clock.now(),
      lifeMs: Math.max(nanosToMs(cluster.spec.CAConfig.NodeCertExpiry), lifeMsMin),
    });
    return { nodeId, role, certPem, caPem: cluster.rootCa.certPem };
  }

  #cluster(): Cluster {
    const cluster = this.#options.store.view.cluster();
    if (cluster === undefined) throw new ClusterError('unavailable', 'the cluster is being created');
    return cluster;
  }
}

/** A node as it is before it has reported anything. */
export function newNode(id: string, role: NodeRole, availability: Availability, now: number): Draft<'node'> {
  return {
    id,
    spec: { Labels: {}, Role: role, Availability: availability },
    role,
    status: { state: 'unknown', message: 'joining', addr: '', since: now },
  } satisfies Omit<Node, 'meta'>;
}

/** The `--availability` of init and join; empty = active. Errors: `invalid`. */
export function availabilityOf(text: string): Availability {
  if (text === '' || text === 'active') return 'active';
  if (text === 'pause' || text === 'drain') return text;
  throw new ClusterError(
    'invalid',
    `invalid availability ${JSON.stringify(text)}, only active, pause and drain are supported`,
  );
}
