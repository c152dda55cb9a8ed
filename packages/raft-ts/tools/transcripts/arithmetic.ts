/** The directives of the two sets without a network: quorums and changes of membership. */
import type { ConfOp, NodeId } from '../../src/core/index.ts';
import { emptyConf, enterJoint, jointIndex, jointVote, leaveJoint, simpleChange } from '../../src/core/index.ts';
import { viewOf } from '../../src/core/replication.ts';
import { Tracker } from '../../src/core/tracker.ts';
import { describeConf, describeProgress } from './describe.ts';
import type { Directive } from './script.ts';

export const quorumDirectives: ReadonlySet<string> = new Set(['committed', 'vote']);
export const confChangeDirectives: ReadonlySet<string> = new Set(['simple', 'enter-joint', 'leave-joint']);

function valuesOf(directive: Directive, key: string): readonly string[] {
  return directive.args.find((arg) => arg.key === key)?.values ?? [];
}

interface Voters {
  readonly voters: readonly NodeId[];
  readonly outgoing: readonly NodeId[];
}

/** More would make a chart that nobody can read. */
const votersMax = 1000;

function toNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new Error(`not a number: ${JSON.stringify(text)}`);
  return value;
}

/** Values are given once per voter, in the order in which voters are first named; `_` means none. */
function valuePerVoter(sets: Voters, given: readonly string[]): ReadonlyMap<NodeId, string> | string {
  const ids = [...new Set([...sets.voters, ...sets.outgoing])];
  if (ids.length !== given.length) {
    const sorted = [...ids].sort((a, b) => a - b).join(' ');
    return `error: mismatched input (explicit or _) for voters (${sorted}): [${given.join(' ')}]`;
  }
  const values = new Map<NodeId, string>();
  ids.forEach((id, at) => {
    const value = given[at];
    if (value !== undefined && value !== '_') values.set(id, value);
  });
  return values;
}

export function quorumOutput(directive: Directive): string {
  if (!quorumDirectives.has(directive.name)) return 'unknown command';
  const voters = valuesOf(directive, 'cfg').map(toNumber);
  const outgoing = valuesOf(directive, 'cfgj')
    .filter((id) => id !== 'zero')
    .map(toNumber);
  if (voters.length + outgoing.length > votersMax) throw new Error(`more than ${String(votersMax)} voters`);
  const sets = { voters, outgoing };
  const mirrored = { voters: outgoing, outgoing: voters };
  const vote = directive.name === 'vote';
  const given = valuePerVoter(sets, valuesOf(directive, vote ? 'votes' : 'idx'));
  if (typeof given === 'string') return given;
  const of = (one: Voters): string => (vote ? voteResult(one, given) : committed(one, given));
  const result = of(sets);
  // The halves of a joint quorum are equals, and a quorum joint with itself is itself.
  const others = [of(mirrored), ...(outgoing.length === 0 ? [of({ voters, outgoing: voters })] : [])];
  const differing = others.filter((other) => other !== result).map((other) => `${other} <-- by another way\n`);
  return `${vote ? '' : chart(sets, given)}${differing.join('')}${result}\n`;
}

function voteResult(sets: Voters, given: ReadonlyMap<NodeId, string>): string {
  const result = jointVote(sets, (id) => (given.has(id) ? given.get(id) === 'y' : undefined));
  return { won: 'VoteWon', lost: 'VoteLost', pending: 'VotePending' }[result];
}

function committed(sets: Voters, given: ReadonlyMap<NodeId, string>): string {
  const index = jointIndex(sets, (id) => (given.has(id) ? toNumber(given.get(id) ?? '') : undefined));
  return index === Number.POSITIVE_INFINITY ? '∞' : String(index);
}

/** One bar per voter, as long as the number of voters with a lower index. */
function chart({ voters, outgoing }: Voters, given: ReadonlyMap<NodeId, string>): string {
  const ids = [...new Set([...voters, ...outgoing])].sort((a, b) => a - b);
  if (ids.length === 0) return '<empty majority quorum>';
  const indexOf = (id: NodeId): number => Number(given.get(id) ?? 0);
  const rows = ids.map((id) => {
    const bar = ids.filter((other) => indexOf(other) < indexOf(id)).length;
    const mark = given.has(id) ? `${'x'.repeat(bar)}>` : '?';
    return `${mark.padEnd(ids.length + 1)} ${String(indexOf(id)).padStart(5)}    (id=${String(id)})\n`;
  });
  return `${' '.repeat(ids.length)}    idx\n${rows.join('')}`;
}

const letters: Readonly<Record<string, ConfOp['op']>> = { v: 'voter', l: 'learner', r: 'remove', u: 'update' };

function parseOps(input: readonly string[]): readonly ConfOp[] | string {
  const list: ConfOp[] = [];
  for (const word of input.join(' ').trim().split(' ')) {
    if (word === '') continue;
    if (word.length < 2) return `unknown token ${word}`;
    const op = letters[word.charAt(0)];
    if (op === undefined) return `unknown input: ${word}`;
    list.push({ op, id: toNumber(word.slice(1)) });
  }
  return list;
}

const limits = {
  maxMessageBytes: 1,
  maxInflightMessages: 10,
  maxInflightBytes: 1,
  maxUncommittedBytes: 1,
  maxApplyBytes: 1,
  maxPendingReads: 1,
};

/** The last index of an imagined log grows by one with each directive, so `next` tells when a progress was born. */
export function confChangeOutput(): (directive: Directive) => string {
  const tracker = new Tracker(emptyConf, limits, { epoch: 0, lastIndex: 0 });
  let lastIndex = -1;
  return (directive) => {
    lastIndex += 1;
    const list = parseOps(directive.input);
    if (typeof list === 'string') return list;
    const result = changed(tracker, directive, list);
    if (typeof result === 'string') return result;
    if (!result.ok) return `${result.why}\n`;
    tracker.setConf(result.conf, { epoch: lastIndex, lastIndex });
    // A newcomer counts as active for its first round; these transcripts leave that out.
    const peers = tracker.progress.map(
      (peer) => `${String(peer.id)}: ${describeProgress({ ...viewOf(peer), recentlyActive: true }, 10)}\n`,
    );
    return `${describeConf(tracker.conf)}\n${peers.join('')}`;
  };
}

function changed(
  tracker: Tracker,
  directive: Directive,
  list: readonly ConfOp[],
): ReturnType<typeof leaveJoint> | string {
  if (directive.name === 'simple') return simpleChange(tracker.conf, list);
  if (directive.name === 'enter-joint') {
    return enterJoint(tracker.conf, list, valuesOf(directive, 'autoleave').includes('true'));
  }
  if (directive.name !== 'leave-joint') return 'unknown command';
  return list.length > 0 ? 'this command takes no input\n' : leaveJoint(tracker.conf);
}
