/** Which service publishes which port of the cluster. A port of the mesh is one service's; ports of hosts may be several services'. */
import { sameSpec } from '../../model/equal.ts';
import { dynamicPorts } from '../../model/network.ts';
import { collide, portKey } from '../../model/ports.ts';
import type { PortConfig } from '../../model/spec.ts';

export interface Claim {
  readonly serviceId: string;
  readonly port: PortConfig;
}

export class PortBook {
  /** `tcp/8080` → holder → claims: more than one where it is published on several addresses. */
  readonly #claims = new Map<string, Map<string, readonly Claim[]>>();
  readonly #holders = new Map<string, readonly string[]>();
  readonly #next = new Map<string, number>();
  readonly #onFree: () => void;

  constructor(onFree: () => void) {
    this.#onFree = onFree;
  }

  /** Replaces what the holder had. */
  hold(holder: string, serviceId: string, ports: readonly PortConfig[]): void {
    const wanted = new Map<string, Claim[]>();
    for (const port of ports) {
      if (!port.PublishedPort) continue;
      const key = portKey(port, port.PublishedPort);
      wanted.set(key, [...(wanted.get(key) ?? []), { serviceId, port }]);
    }
    const old = this.#holders.get(holder) ?? [];
    let isFreed = old.length > 0;
    if (isFreed) isFreed = old.some((key) => !sameSpec(this.#claims.get(key)?.get(holder), wanted.get(key)));
    for (const [key, claims] of wanted) {
      const holders = this.#claims.get(key);
      if (holders === undefined) this.#claims.set(key, new Map([[holder, claims]]));
      else holders.set(holder, claims);
    }
    if (wanted.size === 0) this.#holders.delete(holder);
    else this.#holders.set(holder, [...wanted.keys()]);
    this.#drop(
      holder,
      old.filter((key) => !wanted.has(key)),
    );
    if (isFreed) this.#onFree();
  }

  release(holder: string): void {
    const old = this.#holders.get(holder) ?? [];
    this.#holders.delete(holder);
    this.#drop(holder, old);
    if (old.length > 0) this.#onFree();
  }

  /** Another service's claim that rules this port out. */
  conflict(serviceId: string, port: PortConfig, published: number): Claim | undefined {
    for (const claims of this.#claims.get(portKey(port, published))?.values() ?? []) {
      const found = claims.find((claim) => claim.serviceId !== serviceId && collide(claim.port, port));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** A port of the range for automatic ones that nobody has; `also` are those that the service itself has got. */
  choose(port: PortConfig, also: ReadonlySet<string>): number | undefined {
    const { first, last } = dynamicPorts;
    const protocol = port.Protocol || 'tcp';
    const start = this.#next.get(protocol) ?? first;
    const count = last - first + 1;
    for (let step = 0; step < count; step++) {
      const published = first + ((start - first + step) % count);
      const key = portKey(port, published);
      if (also.has(key) || this.#claims.has(key)) continue;
      this.#next.set(protocol, published + 1);
      return published;
    }
    return undefined;
  }

  #drop(holder: string, keys: readonly string[]): void {
    for (const key of keys) {
      const holders = this.#claims.get(key);
      holders?.delete(holder);
      if (holders?.size === 0) this.#claims.delete(key);
    }
  }
}
