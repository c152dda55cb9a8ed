/**
 * Puts together what the managers say of networks: parts to sets, sets to the state that the driver gets. A record that is told
 * again and says the same keeps its identity, and so does a map in which nothing changed: the driver sees at once what is new.
 */
import type { NetworkSet, NetworkState, SelfRecord } from '../model/network.ts';

export class NetworkInbox {
  #version = 0;
  #parts: NetworkSet[] = [];
  #self: SelfRecord | undefined;
  readonly #peers = new Records<NetworkSet['peers'][number]>();
  readonly #networks = new Records<NetworkSet['networks'][number]>();
  readonly #endpoints = new Records<NetworkSet['endpoints'][number]>();
  readonly #services = new Records<NetworkSet['services'][number]>();

  /** A new session starts with a full set. What is known stays until that is here. */
  reset(): void {
    this.#version = 0;
    this.#parts = [];
  }

  /** `applied`: there is a new state. */
  add(part: NetworkSet): 'applied' | 'incomplete' | 'gap' {
    const [first] = this.#parts;
    if (first !== undefined && (first.kind !== part.kind || first.resultsIn !== part.resultsIn)) return 'gap';
    if (part.kind === 'incremental' && (this.#version === 0 || part.appliesTo !== this.#version)) return 'gap';
    this.#parts.push(part);
    if (part.more === true) return 'incomplete';
    const parts = this.#parts;
    this.#parts = [];
    this.#version = part.resultsIn;
    this.#merge(part.kind, parts);
    return 'applied';
  }

  /** As it is now; does not change any more. Undefined before the first full set of a session. */
  state(): NetworkState | undefined {
    const self = this.#self;
    if (this.#version === 0) return undefined;
    return {
      version: this.#version,
      ...(self === undefined ? {} : { self }),
      peers: this.#peers.snapshot(),
      networks: this.#networks.snapshot(),
      endpoints: this.#endpoints.snapshot(),
      services: this.#services.snapshot(),
    };
  }

  #merge(kind: NetworkSet['kind'], parts: readonly NetworkSet[]): void {
    const self = parts.find((part) => part.self !== undefined)?.self;
    if (kind === 'full' || self !== undefined) this.#self = same(this.#self, self) ? this.#self : self;
    const full = kind === 'full';
    const all = <R>(records: (part: NetworkSet) => readonly R[]): readonly R[] => parts.flatMap(records);
    this.#peers.merge({
      full,
      put: all((part) => part.peers.map((record) => [record.nodeId, record])),
      removed: all((part) => part.removedPeers),
    });
    this.#networks.merge({
      full,
      put: all((part) => part.networks.map((record) => [record.id, record])),
      removed: all((part) => part.removedNetworks),
    });
    this.#endpoints.merge({
      full,
      put: all((part) => part.endpoints.map((record) => [record.taskId, record])),
      removed: all((part) => part.removedEndpoints),
    });
    this.#services.merge({
      full,
      put: all((part) => part.services.map((record) => [record.id, record])),
      removed: all((part) => part.removedServices),
    });
  }
}

interface Merge<R> {
  /** What is not put is gone. */
  readonly full: boolean;
  readonly put: readonly (readonly [string, R])[];
  readonly removed: readonly string[];
}

/** Copied when somebody has the copy and something changes. */
class Records<R> {
  #map = new Map<string, R>();
  #shared = false;

  snapshot(): ReadonlyMap<string, R> {
    this.#shared = true;
    return this.#map;
  }

  merge({ full, put, removed }: Merge<R>): void {
    if (full) {
      const wanted = new Set(put.map(([id]) => id));
      for (const id of [...this.#map.keys()]) if (!wanted.has(id)) this.#own().delete(id);
    }
    for (const id of removed) if (this.#map.has(id)) this.#own().delete(id);
    for (const [id, record] of put) if (!same(this.#map.get(id), record)) this.#own().set(id, record);
  }

  #own(): Map<string, R> {
    if (this.#shared) this.#map = new Map(this.#map);
    this.#shared = false;
    return this.#map;
  }
}

/** Both were made by the same code, so that their keys come in the same order; if not, the record is merely new. */
function same(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
