/** What may happen next, and what comes of it. */
import type { Message, NodeId } from '../../src/core/index.ts';
import { type CoreClass, coreConfig, type Host, printed, printMessage, type State } from './state.ts';

export interface Action {
  readonly name: string;
  readonly run: (state: State) => void;
}

export class Actions {
  readonly #Core: CoreClass;

  constructor(Core: CoreClass) {
    this.#Core = Core;
  }

  start(host: Host): void {
    const { disk, id } = host;
    const recovered = { hardState: disk.hardState, conf: disk.snapshot().conf, applied: 1 };
    host.core = new this.#Core({ ...coreConfig, id }, disk, recovered);
  }

  possible(state: State): Action[] {
    const actions: Action[] = [];
    const { budget } = state;
    const seen = new Set<string>();
    for (const [at, message] of state.wire.entries()) {
      const text = `${message.type} ${message.from}>${message.to} term ${message.term}`;
      const same = printed(message, printMessage);
      if (seen.has(same)) continue;
      seen.add(same);
      actions.push({ name: text, run: (next) => this.#deliver(next, at, { keep: false, crash: false }) });
      if (budget.copies > 0)
        actions.push({ name: `copy of ${text}`, run: (next) => this.#deliver(next, at, { keep: true, crash: false }) });
      if (budget.crashes > 0)
        actions.push({
          name: `${text}, crash before it is durable`,
          run: (next) => this.#deliver(next, at, { keep: false, crash: true }),
        });
    }
    for (const [at, { core, id }] of state.hosts.entries()) actions.push(...this.#own(state, { at, id, core }));
    return actions;
  }

  #own(
    state: State,
    { at, id, core }: { readonly at: number; readonly id: NodeId; readonly core: Host['core'] },
  ): Action[] {
    const { budget } = state;
    const on = (name: string, cost: Partial<typeof budget>, run: (host: Host, next: State) => void): Action => ({
      name: `${name} ${id}`,
      run: (next) => {
        next.budget = { ...next.budget, ...cost };
        run(next.own(at), next);
      },
    });
    if (core === undefined) {
      const restart = (host: Host, next: State): void => {
        this.start(host);
        this.#settle(next, host);
      };
      return [on('restart', {}, restart)];
    }
    const { role, term } = core.status();
    const actions: Action[] = [];
    const touch =
      (use: (own: NonNullable<Host['core']>) => void) =>
      (host: Host, next: State): void => {
        if (host.core !== undefined) use(host.core);
        this.#settle(next, host);
      };
    if (budget.crashes > 0)
      actions.push(on('crash', { crashes: budget.crashes - 1 }, (host) => void (host.core = undefined)));
    if (role !== 'leader' && term < budget.term && budget.campaigns > 0) {
      actions.push(
        on(
          'campaign',
          { campaigns: budget.campaigns - 1 },
          touch((own) => own.campaign()),
        ),
      );
    }
    if (role === 'leader' && budget.proposals > 0) {
      actions.push(
        on(
          'propose',
          { proposals: budget.proposals - 1 },
          touch((own) => void own.propose([new Uint8Array([9])])),
        ),
      );
    }
    if (role === 'leader' && budget.beats > 0)
      actions.push(
        on(
          'beat',
          { beats: budget.beats - 1 },
          touch((own) => own.tick()),
        ),
      );
    return actions;
  }

  #deliver(next: State, at: number, how: { readonly keep: boolean; readonly crash: boolean }): void {
    const message = next.wire[at] as Message;
    const { budget } = next;
    if (how.keep) next.budget = { ...budget, copies: budget.copies - 1 };
    else next.wire.splice(at, 1);
    const host = next.own(message.to - 1);
    const { core } = host;
    if (core === undefined) return;
    core.step(message);
    if (!how.crash) return this.#settle(next, host);
    next.budget = { ...budget, crashes: budget.crashes - 1 };
    next.wire.push(...core.takeReady().send);
    host.core = undefined;
  }

  /** Takes all that the core wants done and does it; everything becomes durable at once. */
  #settle(next: State, host: Host): void {
    const { core, disk } = host;
    while (core?.hasReady() === true) {
      const { send, append, apply } = core.takeReady();
      next.wire.push(...send);
      if (append !== undefined) {
        disk.write(append);
        next.wire.push(...append.onDurable);
        core.appended(append);
      }
      if (apply !== undefined) core.applied(apply);
      check(next, host);
    }
    check(next, host);
  }
}

/** Invariants 1, 4, 5 and those of the core; numbers as in docs/simulation.md. */
function check(next: State, { core, id, disk }: Host): void {
  if (core === undefined || next.broken !== undefined) return;
  const { role, term, commit } = core.status();
  const [broken] = core.invariants();
  if (broken !== undefined) next.broken = `node ${id}: ${broken}`;
  if (role === 'leader') {
    const known = next.leaders.get(term);
    if (known !== undefined && known !== id) next.broken = `invariant 1: nodes ${known} and ${id} lead term ${term}`;
    if (known === undefined) {
      next.leaders.set(term, id);
      const missing = next.committed.findIndex((entry, at) => entry.by < term && disk.term(at + 2) !== entry.term);
      if (missing >= 0)
        next.broken = `invariant 4: node ${id} leads term ${term} without the committed entry ${missing + 2}`;
    }
  }
  for (let index = 2; index <= commit; index++) {
    const own = disk.term(index);
    const entry = next.committed[index - 2];
    if (entry !== undefined && typeof own === 'number' && own !== entry.term) {
      next.broken ??= `invariant 5: node ${id} commits entry ${index} of term ${own}, another was of term ${entry.term}`;
    }
    if (entry === undefined && typeof own === 'number') next.committed.push({ term: own, by: term });
  }
}
