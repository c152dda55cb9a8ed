/**
 * The second phase of a run. Faults end for a random quorum, everyone else is gone: now the cluster must work. It elects a
 * leader, answers, agrees, and then falls silent.
 */
import { isJoint, members } from '../core/confchange.ts';
import type { ConfState, NodeId } from '../core/types.ts';
import type { Chance } from './chance.ts';
import type { Churn } from './churn.ts';
import type { Clients } from './clients.ts';
import { quorumHolds } from './invariants/ledger.ts';
import { encodeWrite } from './machine.ts';
import type { SimNode } from './sim-node.ts';
import type { World } from './world.ts';

/** An election takes two timeouts at most when nothing is lost; several may be needed, one after each restart and split vote. */
const electionTimeouts = 40;
const convergeMs = 60_000;
const messagesPerWrite = 40;

export class Liveness {
  readonly #world: World;
  readonly #churn: Churn;
  readonly #clients: Clients;
  readonly #chance: Chance;
  #core: SimNode[] = [];
  #leaveAtMs = 0;

  constructor(world: World, churn: Churn, clients: Clients) {
    this.#world = world;
    this.#churn = churn;
    this.#clients = clients;
    this.#chance = world.chance('core');
  }

  async run(): Promise<void> {
    const { swarm } = this.#world;
    this.#churn.stopped = true;
    this.#core = this.#chooseCore();
    this.#heal();
    const timeoutMs = swarm.tickMs * swarm.electionTicks * 2;
    await this.#must('no leader', () => this.#working() !== undefined, timeoutMs * electionTimeouts);
    await this.#write('first');
    await this.#must('requests stay unanswered', () => this.#clients.open === 0, swarm.proposalTimeoutMs * 3);
    await this.#must('nodes do not converge', () => this.#converged(), convergeMs);
    await this.#fewMessages();
    await this.#quiet();
  }

  /** 17. Within bounds after the faults have ended. */
  async #must(what: string, done: () => boolean, limitMs: number): Promise<void> {
    const { swarm } = this.#world;
    // Slow clocks take their time.
    if (await this.#world.run(done, limitMs / (1 - swarm.skew))) return;
    this.#world.violate(17, `${what} ${limitMs} ms after the faults have ended: ${this.#describe()}`);
    if (this.#world.violation !== undefined) throw this.#world.violation;
  }

  #describe(): string {
    return this.#core
      .map(({ id, status, process }) => {
        if (status === undefined) return `node ${id} ${process === undefined ? 'is down' : 'is starting'}`;
        const { role, term, leader, commit, applied, lastIndex, conf } = status;
        return `node ${id} ${role} of ${leader} term ${term} log ${applied}/${commit}/${lastIndex} conf ${JSON.stringify(conf)}`;
      })
      .join('; ');
  }

  /** As many as possible are taken away while every configuration that may be in force keeps its quorum. */
  #chooseCore(): SimNode[] {
    const world = this.#world;
    const confs = this.#churn.possibleConfs();
    const named = new Set(confs.flatMap((conf) => members(conf)));
    const core = new Set([...world.nodes.values()].filter((node) => !node.lost && named.has(node.id)));
    const holds = (id: NodeId): boolean => [...core].some((node) => node.id === id);
    const suffices = (): boolean => confs.every((conf) => quorumHolds(conf, holds));
    const dead = confs.find((conf) => !quorumHolds(conf, holds));
    if (dead !== undefined) world.violate(17, `the operator left ${JSON.stringify(dead)} without a living majority`);
    const spared = this.#chance.chance(0.5);
    for (const node of this.#chance.shuffle([...core])) {
      if (spared) break;
      core.delete(node);
      if (!suffices()) core.add(node);
    }
    world.hit(spared ? 'all living nodes healed' : 'a bare quorum healed');
    return [...core];
  }

  #heal(): void {
    const { network, nodes, schedule } = this.#world;
    network.heal();
    network.calm = true;
    for (const node of nodes.values()) {
      node.disk.slowness = 1;
      node.disk.full = false;
      node.disk.failNext = false;
      node.disk.failNextRead = false;
      if (!this.#core.includes(node)) {
        node.crash(true);
        continue;
      }
      node.process?.clock.resume();
      if (node.process?.broken === true) node.crash(this.#chance.chance(0.5));
      if (node.process === undefined) schedule.add(this.#chance.exponential(200), () => node.start());
    }
    this.#world.note(
      'world',
      'healed',
      this.#core.map(({ id }) => id),
    );
  }

  /** A leader that its own configuration names, of the highest term there is. */
  #working(): SimNode | undefined {
    const leader = this.#world.leader();
    if (leader?.status === undefined) return undefined;
    const { voters, outgoing } = leader.status.conf;
    return voters.includes(leader.id) || outgoing.includes(leader.id) ? leader : undefined;
  }

  /** Writes until one is acknowledged. */
  async #write(name: string): Promise<void> {
    let done = false;
    let under = false;
    let notBeforeMs = 0;
    const attempt = (): void => {
      const raft = this.#working()?.process?.raft;
      const { nowMs } = this.#world.schedule;
      if (under || raft === undefined || nowMs < notBeforeMs) return;
      under = true;
      notBeforeMs = nowMs + this.#world.swarm.tickMs;
      const write = this.#clients.write(name);
      raft.propose(encodeWrite(write)).then(
        () => (done = true),
        () => (under = false),
      );
    };
    const { swarm } = this.#world;
    await this.#must(`no write succeeds (${name})`, () => (attempt(), done), swarm.proposalTimeoutMs * 10);
  }

  #converged(): boolean {
    const leader = this.#working();
    const now = leader?.status;
    if (leader === undefined || now === undefined) return false;
    if (isJoint(now.conf)) {
      // Once per round of heartbeats at most.
      if (this.#world.schedule.nowMs >= this.#leaveAtMs) this.#churn.leaveJoint(leader);
      this.#leaveAtMs = Math.max(this.#leaveAtMs, this.#world.schedule.nowMs + this.#world.swarm.tickMs);
      return false;
    }
    return this.#follow(now.conf).every(({ id, status }) => {
      if (status === undefined || status.applied !== now.lastIndex || status.commit !== now.lastIndex) return false;
      const peer = now.progress.find((progress) => progress.id === id);
      return status.leader === leader.id && peer?.match === now.lastIndex;
    });
  }

  /** Those of the healed nodes that belong to the cluster. */
  #follow(conf: ConfState): SimNode[] {
    return this.#core.filter(({ id }) => conf.voters.includes(id) || conf.learners.includes(id));
  }

  /** Who does not belong to the cluster any more is switched off, as an operator would. */
  #retire(): void {
    const conf = this.#working()?.status?.conf;
    if (conf === undefined) return;
    const staying = new Set(this.#follow(conf));
    for (const node of this.#core) {
      if (staying.has(node)) continue;
      node.crash(true);
      node.lost = true;
    }
  }

  /** 17. A write costs a bounded number of messages: no loop of refusals or snapshots. */
  async #fewMessages(): Promise<void> {
    const world = this.#world;
    const writes = 3;
    this.#retire();
    world.sent.clear();
    for (let i = 0; i < writes; i++) {
      await this.#write(`last${i}`);
      await this.#must('nodes do not converge again', () => this.#converged(), convergeMs);
    }
    let messages = 0;
    for (const [type, count] of world.sent) if (!type.startsWith('heartbeat')) messages += count;
    // Those who are gone are tried now and then.
    const most = writes * messagesPerWrite * Math.max(1, this.#core.length);
    if (messages > most)
      world.violate(17, `${messages} messages for ${writes} writes: ${JSON.stringify([...world.sent])}`);
  }

  /** 18. A cluster at rest sends nothing but heartbeats. */
  async #quiet(): Promise<void> {
    const world = this.#world;
    const { swarm } = world;
    await world.run(() => false, swarm.tickMs * 4);
    world.network.forget();
    world.sent.clear();
    await world.run(() => false, swarm.tickMs * swarm.electionTicks * 3);
    const conf = this.#working()?.status?.conf;
    const complete = conf !== undefined && this.#follow(conf).length === conf.voters.length + conf.learners.length;
    for (const [type, count] of world.sent) {
      const beat = type === 'heartbeat' || type === 'heartbeat-ack';
      // A member that is gone is probed for ever, but not more often than it is sent heartbeats.
      const probe = !complete && (type === 'append' || type === 'snapshot');
      if (beat || (probe && count <= (world.sent.get('heartbeat') ?? 0))) continue;
      world.violate(18, `${count} messages of type ${type} in a cluster at rest`);
    }
    world.hit(complete ? 'quiet with all members' : 'quiet without some members');
  }
}
