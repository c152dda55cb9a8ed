/**
 * What each connected node has been told of the cluster's networks, and what it must be told next. Pure: reads what the store
 * says, and answers with messages and with what they take away. All nodes are told at the same time, and nodes on the same
 * networks are told the same: so the records of the last time, kept once, and the networks of each group of nodes are all there
 * is to remember, and a change is worked out once per group.
 */
import type { NetworkSet, SelfRecord, ServiceRecord } from '../../../model/network.ts';
import type { ChangeEvent, ClusterView } from '../../../model/view.ts';
import { Catalogue, type Endpoint } from './catalogue.ts';
import { type Contents, emptyContents, type Part, partsOf } from './parts.ts';

export interface Push {
  readonly messages: readonly { readonly nodeId: string; readonly sets: readonly NetworkSet[] }[];
  readonly pulled: readonly Pulled[];
  /** Tasks that are active no more, or are so again. */
  readonly withdrawn: readonly string[];
  readonly restored: readonly string[];
}

/** Active endpoints that a node is told to take out of its maps, and the version that does it. */
export interface Pulled {
  readonly nodeId: string;
  readonly version: number;
  readonly taskIds: readonly string[];
}

interface Recipient {
  readonly nodeId: string;
  group: Group;
  self: SelfRecord | undefined;
  version: number;
}

/** The connected nodes that have been told of the same networks. */
interface Group {
  readonly key: string;
  readonly networks: ReadonlySet<string>;
  readonly members: Set<Recipient>;
}

type Kind = 'networks' | 'endpoints' | 'services';
/** Ids of what may have changed for a group, or for one recipient. */
type Work = Readonly<Record<Kind, Set<string>>>;

interface Change {
  readonly contents: Contents;
  readonly parts: readonly Part[];
  readonly pulled: readonly string[];
}

/** Which nodes came, went or moved, and what a node is told that is not one of them. */
interface PeerNews {
  readonly ids: ReadonlySet<string>;
  readonly contents: Contents;
  readonly parts: readonly Part[];
  /** What is the same on every node has changed, too. */
  readonly everySelf: boolean;
}

const nothing: Push = { messages: [], pulled: [], withdrawn: [], restored: [] };
const noChange: Change = { contents: emptyContents(), parts: [], pulled: [] };

export class NetworkFeed {
  readonly #catalogue: Catalogue;
  readonly #recipients = new Map<string, Recipient>();
  readonly #groups = new Map<string, Group>();
  /** By network. */
  readonly #groupsOn = new Map<string, Set<Group>>();
  #clusterChanged = false;

  constructor(view: ClusterView) {
    this.#catalogue = new Catalogue(view);
  }

  /** True when there may be something to push. */
  mark(event: ChangeEvent): boolean {
    if (event.table === 'cluster' && JSON.stringify(event.before?.network) !== JSON.stringify(event.after?.network))
      this.#clusterChanged = true;
    this.#catalogue.mark(event);
    return this.#clusterChanged || this.#catalogue.stale;
  }

  /** The version told last; 0: the node is not connected. */
  versionOf(nodeId: string): number {
    return this.#recipients.get(nodeId)?.version ?? 0;
  }

  isPublished(serviceId: string): boolean {
    return this.#catalogue.servicesEverywhere.has(serviceId);
  }

  /** A node has connected: everything it needs. All others must have been told (`push`). */
  register(nodeId: string): readonly NetworkSet[] {
    this.unregister(nodeId);
    const catalogue = this.#catalogue;
    const self = catalogue.self(nodeId);
    const group = this.#groupOf(catalogue.networksOf(nodeId));
    const recipient: Recipient = { nodeId, group, self, version: 1 };
    this.#recipients.set(nodeId, recipient);
    group.members.add(recipient);
    const contents = emptyContents();
    if (self !== undefined) contents.self = self;
    for (const peer of catalogue.peers.values()) if (peer.nodeId !== nodeId) contents.peers.push(peer);
    const endpoints = new Set(catalogue.endpointsEverywhere);
    const services = new Set(catalogue.servicesEverywhere);
    for (const id of group.networks) {
      contents.networks.push(...present(catalogue.networks.get(id)));
      for (const taskId of catalogue.endpointsOn.of(id)) endpoints.add(taskId);
      for (const serviceId of catalogue.servicesOn.of(id)) services.add(serviceId);
    }
    for (const id of endpoints) contents.endpoints.push(...present(catalogue.endpoints.get(id)?.record));
    for (const id of services) contents.services.push(...present(catalogue.services.get(id)));
    const parts = partsOf(contents);
    return (parts.length === 0 ? [contents] : parts).map((part) => ({
      kind: 'full',
      appliesTo: 0,
      resultsIn: 1,
      ...part,
    }));
  }

  unregister(nodeId: string): void {
    const recipient = this.#recipients.get(nodeId);
    if (recipient === undefined) return;
    this.#recipients.delete(nodeId);
    this.#leaveGroup(recipient);
  }

  /** What has changed since the last time, for everyone. */
  push(): Push {
    const catalogue = this.#catalogue;
    if (!catalogue.stale && !this.#clusterChanged) return nothing;
    catalogue.refresh();
    const news = this.#peerNews();
    const changes = this.#changes();
    const messages: Push['messages'][number][] = [];
    const pulled: Pulled[] = [];
    for (const recipient of news === undefined ? changes.keys() : this.#recipients.values()) {
      const change = changes.get(recipient) ?? noChange;
      const parts = news === undefined ? change.parts : this.#withPeers(recipient, change, news);
      const taskIds = change.pulled;
      if (parts.length === 0) continue;
      const { nodeId, version: appliesTo } = recipient;
      const version = appliesTo + 1;
      recipient.version = version;
      const sets = parts.map((part): NetworkSet => ({ kind: 'incremental', appliesTo, resultsIn: version, ...part }));
      messages.push({ nodeId, sets });
      if (taskIds.length > 0) pulled.push({ nodeId, version, taskIds });
    }
    const turned = this.#turned();
    catalogue.settle();
    return { messages, pulled, ...turned };
  }

  #turned(): Pick<Push, 'withdrawn' | 'restored'> {
    const { endpoints } = this.#catalogue;
    const wasActive = (id: string) => endpoints.before(id)?.record.active === true;
    const nowActive = (id: string) => endpoints.get(id)?.record.active === true;
    const changed = endpoints.changed();
    return {
      withdrawn: changed.filter((id) => wasActive(id) && !nowActive(id)),
      restored: changed.filter((id) => !wasActive(id) && nowActive(id)),
    };
  }

  /** By recipient; members of a group share theirs, but for those whose networks are others now. */
  #changes(): ReadonlyMap<Recipient, Change> {
    const catalogue = this.#catalogue;
    const moved = catalogue.takeMembersChanged().flatMap((nodeId) => present(this.#recipients.get(nodeId)));
    const work = this.#work();
    const changes = new Map<Recipient, Change>();
    for (const [group, ids] of work) {
      const change = this.#change(group.networks, group.networks, ids);
      for (const recipient of group.members) changes.set(recipient, change);
    }
    for (const recipient of moved) {
      const { networks: told } = recipient.group;
      const now = catalogue.networksOf(recipient.nodeId);
      changes.set(recipient, this.#change(told, now, this.#moveWork(told, now, work.get(recipient.group))));
    }
    for (const recipient of moved) {
      this.#leaveGroup(recipient);
      recipient.group = this.#groupOf(catalogue.networksOf(recipient.nodeId));
      recipient.group.members.add(recipient);
    }
    return changes;
  }

  #work(): ReadonlyMap<Group, Work> {
    const { networks, endpoints, services } = this.#catalogue;
    const work = new Map<Group, Work>();
    const note = (groups: Iterable<Group>, kind: Kind, id: string) => {
      for (const group of groups) {
        const known = work.get(group) ?? emptyWork();
        known[kind].add(id);
        work.set(group, known);
      }
    };
    const on = (networkId: string) => this.#groupsOn.get(networkId) ?? [];
    for (const id of networks.changed()) note(on(id), 'networks', id);
    for (const id of endpoints.changed()) {
      const states = [endpoints.before(id), endpoints.get(id)];
      if (states.some((state) => state?.everywhere === true)) note(this.#groups.values(), 'endpoints', id);
      else for (const networkId of endpointNetworks(states)) note(on(networkId), 'endpoints', id);
    }
    for (const id of services.changed()) {
      const states = [services.before(id), services.get(id)];
      if (states.some((state) => (state?.ports.length ?? 0) > 0)) note(this.#groups.values(), 'services', id);
      else for (const networkId of serviceNetworks(states)) note(on(networkId), 'services', id);
    }
    return work;
  }

  /** Everything on the networks that a node came to or left, besides what changed for its group. */
  #moveWork(told: ReadonlySet<string>, now: ReadonlySet<string>, common: Work = emptyWork()): Work {
    const { endpointsOn, servicesOn } = this.#catalogue;
    const came = [...now].filter((id) => !told.has(id));
    const left = [...told].filter((id) => !now.has(id));
    const moved = [...came, ...left];
    return {
      networks: new Set([...common.networks, ...moved]),
      endpoints: new Set([...common.endpoints, ...moved.flatMap((id) => [...endpointsOn.of(id)])]),
      services: new Set([...common.services, ...moved.flatMap((id) => [...servicesOn.of(id)])]),
    };
  }

  /** For a node that was told of `told` and is on `now`. */
  #change(told: ReadonlySet<string>, now: ReadonlySet<string>, work: Work): Change {
    const { networks, endpoints, services } = this.#catalogue;
    const contents = emptyContents();
    for (const id of work.networks) {
      const before = told.has(id) ? networks.before(id) : undefined;
      const after = now.has(id) ? networks.get(id) : undefined;
      if (after !== undefined && after !== before) contents.networks.push(after);
      else if (after === undefined && before !== undefined) contents.removedNetworks.push(id);
    }
    const pulled: string[] = [];
    for (const id of work.endpoints) {
      const before = needed(endpoints.before(id), told)?.record;
      const after = needed(endpoints.get(id), now)?.record;
      if (after !== undefined && after !== before) contents.endpoints.push(after);
      else if (after === undefined && before !== undefined) contents.removedEndpoints.push(id);
      if (before?.active === true && after?.active !== true) pulled.push(id);
    }
    for (const id of work.services) {
      const before = neededService(services.before(id), told);
      const after = neededService(services.get(id), now);
      if (after !== undefined && after !== before) contents.services.push(after);
      else if (after === undefined && before !== undefined) contents.removedServices.push(id);
    }
    return { contents, parts: partsOf(contents), pulled };
  }

  /** Undefined: all nodes are where they were. */
  #peerNews(): PeerNews | undefined {
    const { peers } = this.#catalogue;
    const ids = new Set(peers.changed());
    const everySelf = this.#clusterChanged;
    this.#clusterChanged = false;
    if (ids.size === 0 && !everySelf) return undefined;
    const contents = emptyContents();
    for (const id of ids) {
      const peer = peers.get(id);
      if (peer === undefined) contents.removedPeers.push(id);
      else contents.peers.push(peer);
    }
    return { ids, contents, parts: partsOf(contents), everySelf };
  }

  /** Most nodes are told the same. */
  #withPeers(recipient: Recipient, change: Change, news: PeerNews): readonly Part[] {
    const { nodeId } = recipient;
    const isOwn = news.everySelf || news.ids.has(nodeId);
    if (!isOwn && change.parts.length === 0) return news.parts;
    const contents: Contents = {
      ...change.contents,
      peers: news.contents.peers.filter((peer) => peer.nodeId !== nodeId),
      removedPeers: news.contents.removedPeers.filter((id) => id !== nodeId),
    };
    const self = isOwn ? this.#catalogue.self(nodeId) : recipient.self;
    if (self !== undefined && JSON.stringify(self) !== JSON.stringify(recipient.self)) {
      recipient.self = self;
      contents.self = self;
    }
    return partsOf(contents);
  }

  #groupOf(networks: ReadonlySet<string>): Group {
    const key = [...networks].toSorted().join(' ');
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const group: Group = { key, networks, members: new Set() };
    this.#groups.set(key, group);
    for (const id of networks) this.#groupsOn.set(id, (this.#groupsOn.get(id) ?? new Set()).add(group));
    return group;
  }

  #leaveGroup(recipient: Recipient): void {
    const { group } = recipient;
    group.members.delete(recipient);
    if (group.members.size > 0) return;
    this.#groups.delete(group.key);
    for (const id of group.networks) {
      const groups = this.#groupsOn.get(id);
      groups?.delete(group);
      if (groups?.size === 0) this.#groupsOn.delete(id);
    }
  }
}

function emptyWork(): Work {
  return { networks: new Set(), endpoints: new Set(), services: new Set() };
}

function endpointNetworks(states: readonly (Endpoint | undefined)[]): ReadonlySet<string> {
  return new Set(states.flatMap((state) => (state?.record.attachments ?? []).map(({ networkId }) => networkId)));
}

function serviceNetworks(states: readonly (ServiceRecord | undefined)[]): ReadonlySet<string> {
  return new Set(states.flatMap((state) => (state?.networks ?? []).map(({ networkId }) => networkId)));
}

function needed(endpoint: Endpoint | undefined, networks: ReadonlySet<string>): Endpoint | undefined {
  if (endpoint === undefined || endpoint.everywhere) return endpoint;
  return endpoint.record.attachments.some(({ networkId }) => networks.has(networkId)) ? endpoint : undefined;
}

function neededService(record: ServiceRecord | undefined, networks: ReadonlySet<string>): ServiceRecord | undefined {
  if (record === undefined || record.ports.length > 0) return record;
  return record.networks.some(({ networkId }) => networks.has(networkId)) ? record : undefined;
}

function present<T>(value: T | undefined): readonly T[] {
  return value === undefined ? [] : [value];
}
