/**
 * The operator: changes who belongs to the cluster, moves leadership, replaces nodes that are gone. Never does what no
 * operator may do, i.e. leave a configuration without a living majority, for then nothing could be promised.
 */
import { changeConf, decodeConfChange, isJoint } from '../core/confchange.ts';
import type { ConfChange, ConfOp, ConfState, NodeId } from '../core/types.ts';
import type { Chance } from './chance.ts';
import type { FaultHost } from './faults.ts';
import { quorumHolds } from './invariants/ledger.ts';
import type { SimNode } from './sim-node.ts';
import type { World } from './world.ts';

const membersMax = 7;

export class Churn implements FaultHost {
  readonly #world: World;
  readonly #chance: Chance;
  #changing = false;
  /** Changes nothing any more but what must be finished. */
  stopped = false;

  constructor(world: World) {
    this.#world = world;
    this.#chance = world.chance('churn');
  }

  /** Every configuration that is, or may come to be, in force. */
  possibleConfs(): ConfState[] {
    const { ledger, nodes } = this.#world;
    const confs = [ledger.newestConf.conf];
    for (const node of nodes.values()) {
      for (const view of [node.view, node.disk.inspector.durable]) {
        for (let index = ledger.commit + 1; index <= view.lastIndex; index++)
          confs.push(...changed(confs[0], view.at(index)));
      }
      // Who lacks something committed cannot be elected, and who knows of a commit goes on to it by itself.
      const holdsAll = node.view.hashAt(ledger.commit) === ledger.hashAt(ledger.commit);
      if (node.status !== undefined && holdsAll) confs.push(ledger.confAt(Math.max(1, node.status.commit)).conf);
      // A commit index is written lazily: a node that holds everything may come back and not know that it is committed.
      const { durable } = node.disk.inspector;
      if (durable.hashAt(ledger.commit) !== ledger.hashAt(ledger.commit)) continue;
      confs.push(ledger.confAt(Math.max(1, durable.hardState.commit, durable.snapshotIndex)).conf);
    }
    return confs;
  }

  expendable(node: SimNode): boolean {
    if (this.#changing) return false;
    const lives = (id: NodeId): boolean => id !== node.id && this.#world.nodes.get(id)?.lost === false;
    return this.possibleConfs().every((conf) => quorumHolds(conf, lives));
  }

  lost(node: SimNode): void {
    this.#world.schedule.add(this.#chance.exponential(1000), () => this.#replace(node));
  }

  transfer(): void {
    const leader = this.#world.leader();
    const raft = leader?.process?.raft;
    if (leader === undefined || raft === undefined) return;
    const others = raft.status().conf.voters.filter((id) => id !== leader.id);
    const to = this.#chance.chance(0.3) ? undefined : this.#chance.pick(others);
    const name = to === undefined ? 'best' : String(to);
    this.#world.note(`node ${leader.id}`, 'transfer asked', name);
    raft.transferLeadership(to).then(
      () => this.#world.hit(`transfer done${to === undefined ? ' to the best placed' : ''}`),
      () => this.#world.hit('transfer failed'),
    );
  }

  change(): void {
    const leader = this.#world.leader();
    const conf = leader?.process?.raft?.status().conf;
    if (leader === undefined || conf === undefined || conf.voters.length === 0) return;
    if (isJoint(conf)) {
      if (!conf.autoLeave) this.#propose(leader, { transition: 'auto', ops: [] });
      return;
    }
    const change = this.#draw(leader, conf);
    if (change !== undefined) this.#propose(leader, change);
  }

  /** Ends an explicit joint configuration, which nobody else does. */
  leaveJoint(leader: SimNode): void {
    const conf = leader.process?.raft?.status().conf;
    if (conf !== undefined && isJoint(conf) && !conf.autoLeave) this.#propose(leader, { transition: 'auto', ops: [] });
  }

  #draw(leader: SimNode, conf: ConfState): ConfChange | undefined {
    const chance = this.#chance;
    const dead = conf.voters.find((id) => this.#world.nodes.get(id)?.lost === true);
    if (dead !== undefined) return this.#replacement(dead);
    const kind = chance.pick([
      'add',
      'add',
      'promote',
      'promote',
      'demote',
      'remove',
      'remove-leader',
      'swap',
      'readd',
      'mixed',
    ] as const);
    const room = conf.voters.length + conf.learners.length < membersMax;
    const other = chance.pick(conf.voters.filter((id) => id !== leader.id));
    const learner = chance.pick(conf.learners);
    const transition = this.#transition();
    const change = (...ops: ConfOp[]): ConfChange => ({ transition, ops });
    switch (kind) {
      case 'add':
        return room ? change({ op: chance.chance(0.7) ? 'learner' : 'voter', id: this.#fresh() }) : undefined;
      case 'promote':
        return learner === undefined ? undefined : change({ op: 'voter', id: learner });
      case 'demote':
        return other === undefined ? undefined : change({ op: 'learner', id: other });
      case 'remove':
        return other === undefined ? undefined : change({ op: 'remove', id: other });
      case 'remove-leader':
        return conf.voters.length > 1
          ? change({ op: chance.chance(0.5) ? 'remove' : 'learner', id: leader.id })
          : undefined;
      case 'swap':
        return other === undefined
          ? undefined
          : change({ op: 'remove', id: other }, { op: 'voter', id: this.#fresh() });
      case 'readd': {
        const gone = [...this.#world.nodes.values()].find(({ id, lost }) => !lost && !memberOf(conf, id));
        return gone === undefined || !room
          ? undefined
          : change({ op: chance.chance(0.5) ? 'learner' : 'voter', id: gone.id });
      }
      default:
        return other === undefined || learner === undefined
          ? undefined
          : change({ op: 'learner', id: other }, { op: 'voter', id: learner });
    }
  }

  #transition(): ConfChange['transition'] {
    return this.#chance.pick(['auto', 'auto', 'joint-implicit', 'joint-explicit'] as const) ?? 'auto';
  }

  #replacement(dead: NodeId): ConfChange {
    const ops: ConfOp[] = [{ op: 'remove', id: dead }];
    if (this.#chance.chance(0.6)) ops.push({ op: 'voter', id: this.#fresh() });
    return { transition: 'auto', ops };
  }

  #replace(node: SimNode): void {
    if (this.stopped) return;
    const leader = this.#world.leader();
    const conf = leader?.process?.raft?.status().conf;
    if (leader === undefined || conf === undefined || isJoint(conf) || !conf.voters.includes(node.id)) return;
    this.#world.hit('lost node replaced under a new id');
    this.#propose(leader, this.#replacement(node.id));
  }

  #fresh(): NodeId {
    const node = this.#world.addNode();
    node.start();
    return node.id;
  }

  #propose(leader: SimNode, change: ConfChange): void {
    const raft = leader.process?.raft;
    if (raft === undefined || this.#changing || !this.#survivable(raft.status().conf, change)) return;
    this.#changing = true;
    const done = (what: string) => (): void => {
      if (!this.#changing) return;
      this.#changing = false;
      forget();
      this.#world.hit(what);
    };
    const forget = leader.onEnd(done('membership change: outcome unknown'));
    this.#world.note(`node ${leader.id}`, 'change asked', change);
    const kinds = change.ops.map(({ op }) => op).join('+');
    raft
      .changeMembers(change)
      .then(
        done(`membership changed: ${kinds === '' ? 'leave' : kinds} (${change.transition})`),
        done('membership change failed'),
      );
  }

  #survivable(conf: ConfState, change: ConfChange): boolean {
    const next = changeConf(conf, change);
    if (!next.ok) return this.#chance.chance(0.2);
    const lives = (id: NodeId): boolean => this.#world.nodes.get(id)?.lost === false;
    return quorumHolds(next.conf, lives) && quorumHolds({ ...next.conf, outgoing: [] }, lives);
  }
}

function memberOf(conf: ConfState, id: NodeId): boolean {
  return conf.voters.includes(id) || conf.outgoing.includes(id) || conf.learners.includes(id);
}

function changed(conf: ConfState | undefined, seen: ReturnType<SimNode['view']['at']>): ConfState[] {
  if (conf === undefined || seen?.config !== true) return [];
  const result = changeConf(conf, decodeConfChange(seen.entry.data));
  return result.ok ? [result.conf] : [];
}
