/** Clients of the simulated cluster: they read and write registers through any node, give up, and remember what they saw. */
import type { Index } from '../core/types.ts';
import { NotLeaderError, ProposalDropped } from '../driver/errors.ts';
import type { RaftNode } from '../driver/node.ts';
import type { Chance } from './chance.ts';
import type { Operation } from './linearizability/index.ts';
import { encodeWrite, type Request, type Write } from './machine.ts';
import type { Process, SimNode } from './sim-node.ts';
import type { World } from './world.ts';

interface Asked {
  readonly process: number;
  readonly request: Request;
  readonly call: number;
}

/** Clients wait longer than a node does, and then no more. */
const patience = 1.5;
const retryMs = 150;

export class Clients {
  readonly history: Operation<Request, string>[] = [];
  /** Requests that got an answer. */
  answered = 0;
  /** Requests under way. */
  open = 0;
  /** The highest index whose write was acknowledged to a client. */
  acknowledged: Index = 1;
  #stopped = false;
  #nextWrite = 1;
  #nextProcess = 1;
  readonly #world: World;
  readonly #chance: Chance;

  constructor(world: World) {
    this.#world = world;
    this.#chance = world.chance('workload');
  }

  start(): void {
    for (let client = 0; client < this.#world.swarm.clients; client++) this.#later(this.#newProcess());
  }

  stop(): void {
    this.#stopped = true;
  }

  #newProcess(): number {
    this.#nextProcess += 1;
    return this.#nextProcess - 1;
  }

  #later(process: number, delayMs = this.#chance.exponential(this.#world.swarm.thinkMs)): void {
    this.#world.schedule.add(delayMs, () => {
      if (!this.#stopped) this.#ask(process);
    });
  }

  #ask(process: number): void {
    const node = this.#target();
    const raft = node?.process?.raft;
    if (node?.process === undefined || raft === undefined) return this.#later(process, retryMs);
    const request = this.#request();
    const asked: Asked = { process, request, call: this.#world.moment() };
    this.open += 1;
    if (request.kind === 'read') this.#read(asked, { node, process: node.process, raft });
    else this.#write(asked, request, { node, raft });
  }

  #target(): SimNode | undefined {
    const { up, swarm } = this.#world;
    if (!this.#chance.chance(swarm.strayShare)) {
      const leader = this.#world.leader();
      if (leader !== undefined) return leader;
    }
    // Whoever still believes to lead gives the most interesting answers.
    const leaders = up.filter(({ status }) => status?.role === 'leader');
    return this.#chance.pick(leaders.length > 1 && this.#chance.chance(0.7) ? leaders : up);
  }

  #request(): Request {
    const { swarm } = this.#world;
    const key = `k${this.#chance.below(swarm.keys)}`;
    if (this.#chance.chance(swarm.readShare)) return { kind: 'read', key };
    return this.write(key);
  }

  write(key: string): Write {
    const { swarm } = this.#world;
    const id = this.#nextWrite;
    this.#nextWrite += 1;
    const kind = this.#chance.pick(['write', 'append', 'append', 'cas'] as const) ?? 'write';
    const huge = this.#chance.chance(swarm.hugeShare);
    const expected = kind === 'cas' ? { expected: `v${id - this.#chance.between(1, 3)}` } : {};
    return { kind, id, key, value: `v${id}`, ...expected, ...(huge ? { filler: 'x'.repeat(swarm.hugeBytes) } : {}) };
  }

  #write(asked: Asked, write: Write, to: { readonly node: SimNode; readonly raft: RaftNode<string> }): void {
    const once = this.#once(asked, to.node);
    to.raft.propose(encodeWrite(write)).then(
      ({ at, result }) => {
        const seen = this.#world.ledger.entryAt(at.index) ?? to.node.view.at(at.index);
        if (seen?.term !== at.term)
          this.#world.violate(13, `write ${write.id} acknowledged at ${at.index}, where another is`);
        this.acknowledged = Math.max(this.acknowledged, at.index);
        once.answer(result);
      },
      (error: unknown) => {
        const certain = error instanceof NotLeaderError || error instanceof ProposalDropped;
        if (certain) this.#world.refused(write.id);
        this.#world.hit(
          certain
            ? `write refused: ${error instanceof ProposalDropped ? error.reason : 'not the leader'}`
            : 'outcome of a write unknown',
        );
        if (certain) once.drop();
        else once.unknown();
      },
    );
  }

  #read(
    asked: Asked,
    to: { readonly node: SimNode; readonly process: Process; readonly raft: RaftNode<string> },
  ): void {
    const once = this.#once(asked, to.node);
    const { ledger, swarm } = this.#world;
    const lease = this.#chance.chance(swarm.leaseShare);
    // A lease vouches for what was acknowledged, a quorum for what was committed anywhere.
    const floor = lease ? this.acknowledged : ledger.commit;
    to.raft.readBarrier(lease ? { mode: 'lease' } : {}).then(
      (index) => {
        // 14. A read sees at least what was committed when it was asked.
        if (index < floor)
          this.#world.violate(14, `read at ${index} on node ${to.node.id}, ${floor} was committed before`);
        this.#world.hit(lease ? 'read answered with leases allowed' : 'read answered');
        once.answer(to.process.machine.read(asked.request.key));
      },
      () => {
        this.#world.hit('read refused');
        once.drop();
      },
    );
  }

  /** The first thing that happens to a request counts: an answer, a failure, the end of the process, or of patience. */
  #once(asked: Asked, node: SimNode): { answer(output: string): void; drop(): void; unknown(): void } {
    const world = this.#world;
    let open = true;
    const finish = (process: number, delayMs?: number): boolean => {
      if (!open) return false;
      open = false;
      this.open -= 1;
      forget();
      patienceOver.cancelled = true;
      this.#later(process, delayMs);
      return true;
    };
    const remember = (output: string | undefined): void => {
      const { process, request, call } = asked;
      const known = output !== undefined;
      this.history.push({
        process,
        input: request,
        output,
        call,
        return: known ? world.moment() : Number.POSITIVE_INFINITY,
      });
    };
    const unknown = (): void => {
      // Whoever does not know the outcome is gone for the history: its request may take effect at any later time.
      if (!finish(this.#newProcess())) return;
      if (asked.request.kind !== 'read') remember(undefined);
    };
    const forget = node.onEnd(unknown);
    const patienceOver = world.schedule.add(world.swarm.proposalTimeoutMs * patience, unknown);
    return {
      answer: (output) => {
        if (!finish(asked.process)) return;
        this.answered += 1;
        remember(output);
      },
      drop: () => void finish(asked.process, retryMs),
      unknown,
    };
  }
}
