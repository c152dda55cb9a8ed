/** Values by id, and what those that changed were when nodes were told last. An equal value changes nothing, not even its identity. */
export class Tracked<V> {
  readonly #current = new Map<string, V>();
  /** Of what changed since the last `settle`. */
  readonly #before = new Map<string, V | undefined>();

  get(id: string): V | undefined {
    return this.#current.get(id);
  }

  /** As it was when nodes were told last. */
  before(id: string): V | undefined {
    return this.#before.has(id) ? this.#before.get(id) : this.#current.get(id);
  }

  values(): Iterable<V> {
    return this.#current.values();
  }

  /** False when nothing changed. */
  set(id: string, value: V | undefined): boolean {
    const old = this.#current.get(id);
    if (old === value || JSON.stringify(old) === JSON.stringify(value)) return false;
    if (!this.#before.has(id)) this.#before.set(id, old);
    if (value === undefined) this.#current.delete(id);
    else this.#current.set(id, value);
    return true;
  }

  /** Ids of what may differ from what nodes were told. */
  changed(): readonly string[] {
    return [...this.#before.keys()];
  }

  /** Nodes have been told. */
  settle(): void {
    this.#before.clear();
  }
}

/** Sets by key; a key without members is none. */
export class Groups {
  readonly #groups = new Map<string, Set<string>>();

  of(key: string): Iterable<string> {
    return this.#groups.get(key) ?? [];
  }

  add(key: string, member: string): void {
    const group = this.#groups.get(key);
    if (group === undefined) this.#groups.set(key, new Set([member]));
    else group.add(member);
  }

  delete(key: string, member: string): void {
    const group = this.#groups.get(key);
    group?.delete(member);
    if (group?.size === 0) this.#groups.delete(key);
  }
}
