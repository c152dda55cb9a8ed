/**
 * An nftables table as data: rules that seldom change under a marker that hashes them, and sets, maps and small chains that are changed
 * one by one. Text from it, and the difference to what the kernel holds. Pure.
 */
import { hash8 } from './names.ts';

export interface TablePlan {
  readonly family: 'ip' | 'ip6';
  readonly name: string;
  /** Declarations of sets and maps by name, e.g. `type ipv4_addr;`. */
  readonly sets: ReadonlyMap<string, { readonly kind: 'set' | 'map'; readonly type: string }>;
  /** Chains that seldom change, in an order in which each comes after those it jumps to; a base chain's first line is its hook. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** Chains that sets lead to, by name; the name hashes the rules. */
  readonly branches: ReadonlyMap<string, readonly string[]>;
  /** By set: key → value, empty for plain sets; written as nft does: `tcp . 80`. */
  readonly elements: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** What the kernel holds. */
export interface TableView {
  readonly sets: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** How many rules each chain has. */
  readonly rules: ReadonlyMap<string, number>;
  /** Pairs `address . port` that the rules of each branch lead to. */
  readonly targets: ReadonlyMap<string, readonly string[]>;
}

const branchPrefix = 'p_';
const markerPrefix = 'v_';

/** The name of a chain with these rules. */
export function branchName(rules: readonly string[]): string {
  return branchPrefix + hash8(rules.join('\n'));
}

/** A transaction that makes the kernel agree, or undefined when it does. */
export function changeOf(plan: TablePlan, view: TableView | undefined): string | undefined {
  if (view === undefined || !isIntact(plan, view)) return wholeTable(plan);
  return difference(plan, view);
}

/** The whole table in one transaction: what was there is replaced, connection tracking survives. */
export function wholeTable(plan: TablePlan): string {
  const { family, name } = plan;
  const lines = [
    `table ${family} ${name} { }`,
    `delete table ${family} ${name}`,
    `table ${family} ${name} {`,
    ...[...plan.sets].map(([set, { kind, type }]) => `  ${kind} ${set} { ${type} }`),
    ...[...plan.chains].flatMap(chainText),
    ...chainText([marker(plan), ['return']]),
    '}',
    ...addBranches(plan, [...plan.branches.keys()]),
    ...[...plan.elements].flatMap(([set, elements]) => addElements(plan, set, elements)),
  ];
  return `${lines.join('\n')}\n`;
}

/** Removes the table, also when it is not there. */
export function withoutTable({ family, name }: Pick<TablePlan, 'family' | 'name'>): string {
  return `table ${family} ${name} { }\ndelete table ${family} ${name}\n`;
}

function chainText([name, rules]: readonly [string, readonly string[]]): readonly string[] {
  return [`  chain ${name} {`, ...rules.map((rule) => `    ${rule}`), '  }'];
}

function marker(plan: TablePlan): string {
  return markerPrefix + hash8(JSON.stringify([[...plan.sets], [...plan.chains]]));
}

/** Somebody may have flushed chains or removed sets: the marker alone does not tell. */
function isIntact(plan: TablePlan, view: TableView): boolean {
  if (view.rules.get(marker(plan)) !== 1) return false;
  for (const set of plan.sets.keys()) if (!view.sets.has(set)) return false;
  for (const [name, rules] of plan.chains) {
    const isBase = rules[0]?.startsWith('type ') === true;
    if (view.rules.get(name) !== rules.length - (isBase ? 1 : 0)) return false;
  }
  for (const [name, rules] of plan.branches) {
    const count = view.rules.get(name);
    if (count !== undefined && count !== rules.length) return false;
  }
  return true;
}

function difference(plan: TablePlan, view: TableView): string | undefined {
  const { family, name } = plan;
  const removed: string[] = [];
  const added: string[] = [];
  for (const set of plan.sets.keys()) {
    const wanted = plan.elements.get(set) ?? new Map<string, string>();
    const held = view.sets.get(set) ?? new Map<string, string>();
    const gone = [...held].filter(([key, value]) => wanted.get(key) !== value).map(([key]) => key);
    const missing = new Map([...wanted].filter(([key, value]) => held.get(key) !== value));
    if (gone.length > 0) removed.push(`delete element ${family} ${name} ${set} { ${gone.join(', ')} }`);
    added.push(...addElements(plan, set, missing));
  }
  const newBranches = [...plan.branches.keys()].filter((branch) => !view.rules.has(branch));
  const oldBranches = [...view.rules.keys()].filter(
    (chain) => chain.startsWith(branchPrefix) && !plan.branches.has(chain),
  );
  const lines = [
    ...addBranches(plan, newBranches),
    ...removed,
    ...added,
    ...oldBranches.flatMap((branch) => [
      `flush chain ${family} ${name} ${branch}`,
      `delete chain ${family} ${name} ${branch}`,
    ]),
  ];
  return lines.length === 0 ? undefined : `${lines.join('\n')}\n`;
}

function addBranches({ family, name, branches }: TablePlan, names: readonly string[]): readonly string[] {
  return names.flatMap((branch) => [
    `add chain ${family} ${name} ${branch}`,
    ...(branches.get(branch) ?? []).map((rule) => `add rule ${family} ${name} ${branch} ${rule}`),
  ]);
}

function addElements(
  { family, name }: TablePlan,
  set: string,
  elements: ReadonlyMap<string, string>,
): readonly string[] {
  if (elements.size === 0) return [];
  const list = [...elements].map(([key, value]) => (value === '' ? key : `${key} : ${value}`));
  return [`add element ${family} ${name} ${set} { ${list.join(', ')} }`];
}

/** Reads `nft -j list table`. */
export function parseTable(json: string): TableView {
  const sets = new Map<string, Map<string, string>>();
  const rules = new Map<string, number>();
  const targets = new Map<string, string[]>();
  for (const item of entries(json)) {
    const set = field(item, 'set') ?? field(item, 'map');
    const chain = field(item, 'chain');
    const rule = field(item, 'rule');
    if (set !== undefined) sets.set(text(set['name']), parseElements(set['elem']));
    if (chain !== undefined) rules.set(text(chain['name']), 0);
    if (rule === undefined) continue;
    const owner = text(rule['chain']);
    rules.set(owner, (rules.get(owner) ?? 0) + 1);
    if (owner.startsWith(branchPrefix)) targets.set(owner, [...(targets.get(owner) ?? []), ...pairs(rule['expr'])]);
  }
  return { sets, rules, targets };
}

type Fields = Readonly<Record<string, unknown>>;

/** The list in every answer of `nft -j`. */
export function entries(json: string): readonly Fields[] {
  const list = (JSON.parse(json) as { nftables?: unknown }).nftables;
  return Array.isArray(list) ? (list as Fields[]) : [];
}

export function field(item: Fields, name: string): Fields | undefined {
  const value = item[name];
  return typeof value === 'object' && value !== null ? (value as Fields) : undefined;
}

export function text(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

function parseElements(list: unknown): Map<string, string> {
  const elements = new Map<string, string>();
  for (const item of Array.isArray(list) ? list : []) {
    if (Array.isArray(item)) elements.set(operand(item[0]), operand(item[1]));
    else elements.set(operand(item), '');
  }
  return elements;
}

/** A key or a value the way nft writes it. */
function operand(value: unknown): string {
  if (typeof value !== 'object' || value === null) return text(value);
  const { concat, goto, elem } = value as Fields;
  if (Array.isArray(concat)) return concat.map(operand).join(' . ');
  if (goto !== undefined) return `goto ${text((goto as Fields)['target'])}`;
  if (elem !== undefined) return operand((elem as Fields)['val']);
  return JSON.stringify(value);
}

/** Every `address . port` inside an expression; `dnat` to a single one has them as fields of its own. */
function pairs(value: unknown): readonly string[] {
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap(pairs);
  const { concat, addr, port } = value as Fields;
  if (Array.isArray(concat) && concat.length === 2) return [concat.map(operand).join(' . ')];
  if (typeof addr === 'string' && typeof port === 'number') return [`${addr} . ${port}`];
  return Object.values(value).flatMap(pairs);
}
