/**
 * This process as a node: outside a cluster, or a worker, or a worker that is a manager too. Owns the identity and starts and
 * stops the two halves as the identity says. Everything the HTTP API may ask of the process itself is answered here.
 */
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Random } from '../lib/random.ts';
import { availabilityOf, newNode } from '../manager/ca/ca.ts';
import { joinGroup } from '../manager/raft/join.ts';
import type { Store } from '../manager/store/port.ts';
import { type HostNetwork, planAddresses } from '../model/address-plan.ts';
import type { ManagerPeer } from '../model/assignment.ts';
import type {
  InitRequest,
  JoinRequest,
  ManagerBackend,
  NodeBackend,
  NodeInfo,
  ResolvedImage,
} from '../model/control.ts';
import { defaultClusterSpec } from '../model/defaults.ts';
import type { ClusterNetwork } from '../model/objects.ts';
import type { NodeRole } from '../model/spec.ts';
import {
  type Authority,
  createAuthority,
  createRequest,
  generateKey,
  isSignedBy,
  issueNodeCertificate,
  subjectOf,
} from '../pki/certificate.ts';
import { IdentityStore, type StoredIdentity } from '../pki/identity-store.ts';
import { newJoinToken, parseJoinToken } from '../pki/join-token.ts';
import { renewalTime } from '../pki/renewal.ts';
import { GrpcDialer } from '../rpc/client.ts';
import type { RaftJoinResponse } from '../rpc/port.ts';
import { admission, withdraw } from './admission.ts';
import { LocalManager } from './local-manager.ts';
import { LocalWorker, type WorkerParts } from './local-worker.ts';
import { advertiseAddress, assertFree, hostAddresses, hostRoutes, listenAddress } from './system.ts';

export interface ClusterNodeOptions {
  readonly dataDir: string;
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly worker: WorkerParts;
  /** Facts of the machine that do not change. */
  readonly machine: Omit<
    NodeInfo,
    'nodeId' | 'nodeAddr' | 'state' | 'role' | 'error' | 'managers' | 'clusterId' | 'containers'
  >;
  readonly resolveImage: (reference: string, auth: string | undefined) => Promise<ResolvedImage>;
  /** The daemon can not go on: stop the process. */
  readonly onFatal: (error: Error) => void;
}

/** A member of a cluster, with what runs for it. */
interface Membership {
  identity: StoredIdentity;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly dialer: GrpcDialer;
  readonly worker: LocalWorker;
  manager: LocalManager | undefined;
  /** What the cluster said last that this node should be. */
  wished: NodeRole | undefined;
}

const alreadyMember =
  'This node is already part of a swarm. Use "tscluster leave" to leave this swarm and join another one.';
const removedMessage =
  'this node was removed from the cluster, its containers were stopped: run "tscluster leave --force" here, then join again with a join token';
const expiredMessage =
  'the certificate of this node has expired, no manager accepts it any more; its containers go on: run "tscluster leave --force" here (which removes them), then join again with a join token';
const busy = 'This node is joining or leaving a swarm: try again when that is done';
const notMember = 'This node is not part of a swarm';
const leaveNeedsForce =
  'You are attempting to leave the swarm on a node that is participating as a manager. Removing this node may leave the cluster without a quorum: demote it first (tscluster node demote), or use `--force` to leave anyway.';
const managerReadyMs = 15_000;
const managerReturnMs = 3_000;
const renewalRetryMs = 60_000;
const roleRetryMs = 2_000;

export class ClusterNode implements NodeBackend {
  readonly #options: ClusterNodeOptions;
  readonly #identities: IdentityStore;
  #member: Membership | undefined;
  #pending = false;
  #cancelRenewal = () => {};
  #cancelRoleRetry = () => {};
  /** Role changes are worked off one after the other. */
  #changes: Promise<unknown> = Promise.resolve();

  constructor(options: ClusterNodeOptions) {
    this.#options = options;
    this.#identities = new IdentityStore(join(options.dataDir, 'identity.json'));
  }

  /** Goes on as what this node was when it last ran. */
  async start(): Promise<void> {
    const identity = await this.#identities.load();
    if (identity === undefined) return;
    if (!isSignedBy(identity.certPem, identity.caPem, expiryOf(identity) - 1)) {
      throw new ClusterError(
        'failed_precondition',
        `the certificate in ${this.#options.dataDir} is not of its own root: remove the data directory and join again`,
      );
    }
    await this.#run(identity, false);
  }

  /** Stops on purpose: hands leadership over, tells the managers, leaves containers running. */
  async stop(): Promise<void> {
    this.#cancelRenewal();
    this.#cancelRoleRetry();
    const member = this.#member;
    this.#member = undefined;
    await member?.worker.stop();
    await this.#changes; // one under way may be making the manager
    await member?.manager?.stop();
  }

  manager(): ManagerBackend | undefined {
    return this.#member?.manager?.backend;
  }

  info(): NodeInfo {
    const member = this.#member;
    const role = member === undefined ? undefined : roleOf(member.identity);
    const error = member === undefined ? '' : this.#trouble(member.identity);
    return {
      ...this.#options.machine,
      nodeId: member?.nodeId ?? '',
      nodeAddr: member === undefined ? '' : member.identity.advertiseAddr.replace(/:\d+$/, ''),
      state: error !== '' ? 'error' : member !== undefined ? 'active' : this.#pending ? 'pending' : 'inactive',
      role,
      error,
      managers: member === undefined ? [] : (member.manager?.peers() ?? member.identity.managers),
      clusterId: member?.clusterId ?? '',
      containers: member?.worker.containers() ?? { running: 0, stopped: 0 },
    };
  }

  /** Why this member can not be one; empty = nothing. */
  #trouble(identity: StoredIdentity): string {
    if (identity.removed === true) return removedMessage;
    return this.#options.clock.now() >= expiryOf(identity) ? expiredMessage : '';
  }

  resolveImage(reference: string, auth: string | undefined): Promise<ResolvedImage> {
    return this.#options.resolveImage(reference, auth);
  }

  init(request: InitRequest): Promise<{ nodeId: string }> {
    return this.#exclusively(() => this.#init(request));
  }

  join(request: JoinRequest): Promise<{ nodeId: string }> {
    return this.#exclusively(() => this.#join(request));
  }

  async leave(force: boolean): Promise<void> {
    const member = this.#member;
    if (member === undefined) throw new ClusterError('unavailable', notMember);
    if (this.#pending) throw new ClusterError('unavailable', busy);
    if (member.manager !== undefined && !force) throw new ClusterError('unavailable', leaveNeedsForce);
    this.#cancelRenewal();
    this.#cancelRoleRetry();
    this.#member = undefined;
    this.#pending = true; // an init or join meanwhile would lose its identity to the last step
    try {
      await this.#changes;
      await member.worker.leave();
    } finally {
      await member.manager?.leave().catch((error) => this.#options.log.warn('leaving', { reason: messageOf(error) }));
      await this.#forget().finally(() => {
        this.#pending = false;
      });
    }
  }

  async #init(request: InitRequest): Promise<{ nodeId: string }> {
    const { clock, random } = this.#options;
    if (request.forceNewCluster) throw new ClusterError('unimplemented', '--force-new-cluster is not supported yet');
    const addresses = this.#addresses(request);
    const network = planAddresses(request.network ?? {}, hostAddresses(), await this.#routes());
    const authority = createAuthority(clock.now());
    const [nodeId, clusterId] = [newId(random), newId(random)];
    const keyPem = generateKey();
    const certPem = issueNodeCertificate(authority, {
      csrPem: createRequest(keyPem),
      nodeId,
      clusterId,
      role: 'manager',
      now: clock.now(),
      lifeMs: defaultClusterSpec.CAConfig.NodeCertExpiry / 1e6,
    });
    const identity: StoredIdentity = {
      format: 1,
      caPem: authority.certPem,
      certPem,
      keyPem,
      ...addresses,
      raft: { id: 1, members: [] },
      managers: [{ nodeId, addr: addresses.advertiseAddr }],
    };
    await this.#start(identity, (store) =>
      this.#firstObjects(store, { nodeId, clusterId, authority, request, network, addr: addresses.advertiseAddr }),
    );
    return { nodeId };
  }

  /** None where they can not be asked for: the networks that the host is on are known without. */
  async #routes(): Promise<readonly HostNetwork[]> {
    try {
      return await hostRoutes();
    } catch (error) {
      this.#options.log.warn('asking for the routes of this host', { reason: messageOf(error) });
      return [];
    }
  }

  /** The cluster and its first node, written by the first leader. */
  async #firstObjects(
    store: Store,
    first: {
      nodeId: string;
      clusterId: string;
      authority: Authority;
      request: InitRequest;
      network: ClusterNetwork;
      addr: string;
    },
  ): Promise<void> {
    const { clock, random } = this.#options;
    const { certPem, keyPem } = first.authority;
    const availability = availabilityOf(first.request.availability);
    await store.transact((tx) => {
      tx.create('cluster', {
        id: first.clusterId,
        spec: { ...defaultClusterSpec, ...first.request.spec },
        rootCa: {
          certPem,
          keyPem,
          joinTokens: { worker: newJoinToken(certPem, random), manager: newJoinToken(certPem, random) },
        },
        removedNodes: {},
        nextRaftId: 2,
        network: first.network,
      });
      tx.create('node', {
        ...newNode(first.nodeId, 'manager', availability, clock.now()),
        manager: { raftId: 1, addr: first.addr },
      });
    });
  }

  async #join(request: JoinRequest): Promise<{ nodeId: string }> {
    const addresses = this.#addresses(request);
    const token = parseJoinToken(request.joinToken);
    if (request.remoteAddrs.length === 0)
      throw new ClusterError('invalid', 'at least one RemoteAddr is required to join');
    availabilityOf(request.availability);
    const keyPem = generateKey();
    const { issued, remote } = await admission(request, {
      csrPem: createRequest(keyPem),
      token,
      clock: this.#options.clock,
    });
    const identity: StoredIdentity = {
      format: 1,
      caPem: issued.caPem,
      certPem: issued.certPem,
      keyPem,
      ...addresses,
      managers: [{ nodeId: '', addr: remote }],
    };
    await this.#start(identity);
    return { nodeId: issued.nodeId };
  }

  /** Starts as `identity`, and undoes everything when that fails: a half-joined node would be neither here nor there. */
  async #start(identity: StoredIdentity, bootstrap?: (store: Store) => Promise<void>): Promise<void> {
    await this.#forget();
    try {
      await this.#run(identity, true, bootstrap);
    } catch (error) {
      // A group of two could not even remove the second that went away as a voter.
      if (bootstrap === undefined) await this.#member?.manager?.leave();
      await this.stop();
      if (bootstrap === undefined) await withdraw(identity, this.#options);
      await this.#forget();
      throw error;
    }
  }

  async #run(identity: StoredIdentity, fresh: boolean, bootstrap?: (store: Store) => Promise<void>): Promise<void> {
    const { clock, worker: parts } = this.#options;
    const { nodeId, clusterId } = subjectOf(new X509Certificate(identity.certPem));
    const dialer = new GrpcDialer(identity, clock);
    const expired = clock.now() >= expiryOf(identity);
    const standing = identity.removed === true ? 'removed' : expired ? 'alone' : 'member';
    const worker = new LocalWorker({
      parts,
      nodeId,
      dialer,
      managers: identity.managers,
      clock,
      random: this.#options.random,
      log: this.#options.log,
      addr: identity.advertiseAddr.replace(/:\d+$/, ''),
      onRole: (role) => this.#changeRole(role),
      onManagers: (peers) => this.#rememberManagers(peers),
      onRemoved: () => this.#takenOut(member),
      standing,
    });
    const member: Membership = { identity, nodeId, clusterId, dialer, worker, manager: undefined, wished: undefined };
    this.#member = member;
    if (standing !== 'member') {
      this.#options.log.error('this node can not take part in its cluster', { reason: this.#trouble(identity) });
      return worker.start();
    }
    const role = roleOf(identity);
    // A promotion that a crash cut short goes on below, when the tasks do: it needs the other managers, they do not.
    const promotion = role === 'manager' && identity.raft === undefined && !fresh;
    if (role === 'manager' && !promotion) await this.#startManager(member, bootstrap);
    if (role === 'worker') await this.#stopManager(member); // a demotion that a crash cut short
    if (fresh) await member.manager?.ready(managerReadyMs);
    // A founder is kept only now: until its cluster is written, a crash must leave it outside.
    await this.#identities.save(member.identity);
    await worker.start();
    // A member that comes back may be the first one up after a power cut: it waits for the others a little, then serves what it can.
    if (!fresh) await member.manager?.ready(managerReturnMs).catch(() => {});
    this.#scheduleRenewal();
    if (promotion && member.wished === undefined) this.#changeRole('manager');
  }

  async #startManager(member: Membership, bootstrap?: (store: Store) => Promise<void>): Promise<void> {
    if (bootstrap === undefined) this.#forgetLostMember(member);
    if (member.identity.raft === undefined) {
      await assertFree(member.identity.listenAddr); // before the others count on this manager
      await this.#wipeRaft(); // a log belongs to one id
      const { raftId: id, members } = await this.#joinRaft(member);
      member.identity = { ...member.identity, raft: { id, members } };
    }
    const { raft } = member.identity;
    if (raft === undefined) return;
    // The id is given out once: a crash from here on must find it again.
    if (bootstrap === undefined) await this.#identities.save(member.identity);
    member.manager = await LocalManager.open({
      dataDir: join(this.#options.dataDir, 'raft'),
      identity: member.identity,
      raft,
      nodeId: member.nodeId,
      clusterId: member.clusterId,
      dialer: member.dialer,
      clock: this.#options.clock,
      random: this.#options.random,
      log: this.#options.log,
      onFatal: this.#options.onFatal,
      onObsolete: (manager) => this.#serially(() => this.#startAnew(member, manager)),
      ...(bootstrap === undefined ? {} : { bootstrap }),
    });
  }

  /** A member without its log has forgotten its votes: under its old id it could vote twice. It has to join again as a new one. */
  #forgetLostMember(member: Membership): void {
    const { raft: known, managers, advertiseAddr } = member.identity;
    if (known === undefined || existsSync(join(this.#options.dataDir, 'raft', 'log'))) return;
    if (!managers.some(({ addr }) => addr !== advertiseAddr)) return; // nobody to ask: it waits, and founds nothing
    this.#options.log.warn('the raft log is gone: joining again as a new member', { raftId: known.id });
    const { raft: _, ...rest } = member.identity;
    member.identity = rest;
  }

  #joinRaft(member: Membership): Promise<RaftJoinResponse> {
    return joinGroup({
      dialer: member.dialer,
      clock: this.#options.clock,
      known: member.identity.managers.map(({ addr }) => addr),
      addr: member.identity.advertiseAddr,
      check: () => {
        if (this.#member !== member) throw new ClusterError('cancelled', 'this node is leaving or stopping');
      },
    });
  }

  /** The group has no place for this member's id any more: a new member in the same process, with nothing of the old one. */
  async #startAnew(member: Membership, manager: LocalManager): Promise<void> {
    if (this.#member !== member || member.manager !== manager) return;
    await this.#stopManager(member);
    await this.#identities.save(member.identity);
    if (member.wished !== 'worker') this.#changeRole('manager'); // what stands in the way is tried again
  }

  /** The last thing a manager ever tells this node. Resolves once it is on disk. */
  #takenOut(member: Membership): Promise<unknown> {
    this.#cancelRenewal();
    this.#cancelRoleRetry();
    this.#serially(async () => {
      if (this.#member !== member) return;
      member.identity = { ...member.identity, removed: true };
      await this.#identities.save(member.identity);
      await this.#stopManager(member);
      await this.#identities.save(member.identity);
    });
    return this.#changes;
  }

  /** The cluster wishes another role for this node: a new certificate, then the manager half follows. */
  #changeRole(role: NodeRole): void {
    const member = this.#member;
    if (member === undefined) return;
    member.wished = role;
    this.#serially(() => this.#followWish(member));
  }

  /** The wish is told once: what stands in its way is tried again until it is true or another one. */
  async #followWish(member: Membership): Promise<void> {
    const { clock, log } = this.#options;
    const { wished } = member;
    if (this.#member !== member || member.identity.removed === true) return;
    if (wished === undefined || hasRole(member, wished)) return;
    this.#cancelRoleRetry();
    try {
      await this.#takeRole(member, wished);
      log.info('role changed', { role: wished });
    } catch (error) {
      log.warn('change of role has to wait', { role: wished, reason: messageOf(error) });
      this.#cancelRoleRetry = clock.timer(roleRetryMs, () => this.#serially(() => this.#followWish(member)));
    }
  }

  async #takeRole(member: Membership, wished: NodeRole): Promise<void> {
    if (roleOf(member.identity) !== wished) await this.#renew(member);
    const role = roleOf(member.identity);
    if (role === 'manager' && member.manager === undefined) await this.#startManager(member);
    if (role === 'worker') await this.#stopManager(member);
    await this.#identities.save(member.identity);
    if (role !== wished) throw new ClusterError('unavailable', `the managers still call it a ${role}`);
  }

  async #stopManager(member: Membership): Promise<void> {
    const manager = member.manager;
    if (manager === undefined && member.identity.raft === undefined) return;
    member.manager = undefined;
    await manager?.stop();
    await this.#wipeRaft();
    const { raft: _, ...rest } = member.identity;
    member.identity = rest;
  }

  /** Aside at once, then away: a crash in the middle must not leave half a log where a whole one is looked for. */
  async #wipeRaft(): Promise<void> {
    const path = join(this.#options.dataDir, 'raft');
    const aside = `${path}.gone`;
    await rm(aside, { recursive: true, force: true });
    await rename(path, aside).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    await rm(aside, { recursive: true, force: true });
  }

  #rememberManagers(peers: readonly ManagerPeer[]): void {
    const member = this.#member;
    if (member === undefined || peers.length === 0) return;
    this.#serially(async () => {
      if (this.#member !== member || JSON.stringify(member.identity.managers) === JSON.stringify(peers)) return;
      member.identity = { ...member.identity, managers: peers };
      await this.#identities.save(member.identity);
    });
  }

  #scheduleRenewal(): void {
    const { clock, random } = this.#options;
    const member = this.#member;
    if (member === undefined) return;
    this.#cancelRenewal();
    const due = Math.max(renewalTime(member.identity.certPem, random), clock.now() + renewalRetryMs);
    const wait = () => {
      this.#cancelRenewal = clock.timer(due - clock.now(), () => {
        if (clock.now() < due) return wait(); // no timer runs longer than 24 days
        this.#serially(async () => {
          if (this.#member === member) await this.#renew(member).finally(() => this.#scheduleRenewal());
        });
      });
    };
    wait();
  }

  /** A new certificate for a new key, from whichever manager leads. */
  async #renew(member: Membership): Promise<void> {
    const keyPem = generateKey();
    const csrPem = createRequest(keyPem);
    const addresses = (member.manager?.peers() ?? member.identity.managers).map(({ addr }) => addr);
    let last: unknown;
    for (const addr of addresses) {
      const peer = member.dialer.dial(addr);
      try {
        const issued = await peer.issueCertificate({ csrPem, token: '', availability: '' });
        member.identity = { ...member.identity, certPem: issued.certPem, keyPem };
        member.dialer.renew(member.identity);
        member.manager?.renew(member.identity);
        member.worker.reconnect();
        await this.#identities.save(member.identity);
        return;
      } catch (error) {
        last = error;
      } finally {
        peer.close();
      }
    }
    throw new ClusterError('unavailable', `Cannot renew the certificate: ${messageOf(last)}`, { cause: last });
  }

  /** Removes what makes this node a member. Images, volumes and logs stay. */
  async #forget(): Promise<void> {
    await this.#identities.remove();
    await this.#wipeRaft();
    await rm(join(this.#options.dataDir, 'tasks'), { recursive: true, force: true });
  }

  #addresses(request: { listenAddr: string; advertiseAddr: string }): { listenAddr: string; advertiseAddr: string } {
    const { listenAddr, advertiseAddr } = this.#options;
    // Docker's client always sends its default listen address: the daemon's own setting is then the better one.
    const asked = request.listenAddr === '' || request.listenAddr === '0.0.0.0:2377' ? listenAddr : request.listenAddr;
    return {
      listenAddr: listenAddress(asked),
      advertiseAddr: advertiseAddress(request.advertiseAddr || advertiseAddr, asked),
    };
  }

  /** One init or join at a time, and only outside a cluster. */
  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    if (this.#member !== undefined) throw new ClusterError('unavailable', alreadyMember);
    if (this.#pending) throw new ClusterError('unavailable', busy);
    this.#pending = true;
    try {
      return await work();
    } finally {
      this.#pending = false;
    }
  }

  #serially(work: () => Promise<void>): void {
    this.#changes = this.#changes
      .then(work)
      .catch((error) => this.#options.log.warn('node', { reason: messageOf(error) }));
  }
}

function roleOf(identity: StoredIdentity): NodeRole {
  return subjectOf(new X509Certificate(identity.certPem)).role;
}

/** Ms since the epoch. */
function expiryOf(identity: StoredIdentity): number {
  return Date.parse(new X509Certificate(identity.certPem).validTo);
}

/** With nothing left of the other role. */
function hasRole(member: Membership, role: NodeRole): boolean {
  if (roleOf(member.identity) !== role) return false;
  return role === 'manager'
    ? member.manager !== undefined
    : member.manager === undefined && member.identity.raft === undefined;
}
