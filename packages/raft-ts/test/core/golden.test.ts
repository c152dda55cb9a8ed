/**
 * Data-driven cases for quorum and membership arithmetic in the format of the etcd project (Apache-2.0). They lie beside
 * the repository, not in it; where they are absent the suite says so and is skipped.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { ConfOp, ConfState } from '../../src/core/index.ts';
import {
  emptyConf,
  enterJoint,
  isJoint,
  jointIndex,
  jointVote,
  leaveJoint,
  simpleChange,
} from '../../src/core/index.ts';
import { Tracker } from '../../src/core/tracker.ts';
import { wideLimits } from './harness.ts';

const folder = fileURLToPath(new URL('../../../../../shared/data/raft-testdata/', import.meta.url));
const present = existsSync(folder);
if (!present) console.warn('SKIPPED: raft-testdata is not there, golden cases for quorum and confchange were not run');

interface Case {
  readonly line: number;
  readonly command: string;
  readonly args: ReadonlyMap<string, string>;
  readonly input: string;
  readonly output: readonly string[];
}

function parse(text: string): Case[] {
  const lines = text.split('\n');
  const cases: Case[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const head = lines[at] ?? '';
    if (head.trim() === '' || head.startsWith('#')) continue;
    const line = at + 1;
    const input: string[] = [];
    for (at += 1; lines[at] !== '----' && at < lines.length; at += 1) input.push(lines[at] ?? '');
    const output: string[] = [];
    for (at += 1; (lines[at] ?? '').trim() !== ''; at += 1) output.push(lines[at] ?? '');
    const args = new Map<string, string>();
    for (const match of head.matchAll(/(\w+)=(\([^)]*\)|\S+)/g)) args.set(match[1] ?? '', match[2] ?? '');
    cases.push({ line, command: head.split(' ')[0] ?? '', args, input: input.join(' '), output });
  }
  return cases;
}

function list(text: string | undefined): string[] {
  return (text ?? '()')
    .slice(1, -1)
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function quorumAnswer(c: Case): string {
  const voters = list(c.args.get('cfg')).map(Number);
  const joint = c.args.get('cfgj');
  const outgoing = joint === undefined || joint === 'zero' ? [] : list(joint).map(Number);
  const order = [...new Set([...voters, ...outgoing])];
  const given = list(c.args.get(c.command === 'vote' ? 'votes' : 'idx'));
  const of = (id: number): string | undefined => given[order.indexOf(id)];
  if (c.command === 'vote') {
    const result = jointVote({ voters, outgoing }, (id) => ({ y: true, n: false })[of(id) ?? '_']);
    return { won: 'VoteWon', lost: 'VoteLost', pending: 'VotePending' }[result];
  }
  const index = jointIndex({ voters, outgoing }, (id) => (of(id) === '_' ? undefined : Number(of(id))));
  return index === Number.POSITIVE_INFINITY ? '∞' : String(index);
}

const letters: Readonly<Record<string, ConfOp['op']>> = { v: 'voter', l: 'learner', r: 'remove', u: 'update' };

function describeConf(tracker: Tracker): string[] {
  const { voters, outgoing, learners, learnersNext, autoLeave } = tracker.conf;
  const parts = [`voters=(${voters.join(' ')})${isJoint(tracker.conf) ? `&&(${outgoing.join(' ')})` : ''}`];
  if (learners.length > 0) parts.push(`learners=(${learners.join(' ')})`);
  if (learnersNext.length > 0) parts.push(`learners_next=(${learnersNext.join(' ')})`);
  if (autoLeave) parts.push('autoleave');
  const peers = tracker.progress.map(
    (peer) =>
      `${String(peer.id)}: StateProbe match=${String(peer.match)} next=${String(peer.next)}${peer.learner ? ' learner' : ''}`,
  );
  return [parts.join(' '), ...peers];
}

function change(conf: ConfState, c: Case): ReturnType<typeof leaveJoint> {
  const ops = c.input.split(' ').filter((word) => word !== '');
  const parsed = ops.map((word): ConfOp => ({ op: letters[word[0] ?? ''] ?? 'update', id: Number(word.slice(1)) }));
  if (c.command === 'simple') return simpleChange(conf, parsed);
  if (c.command === 'enter-joint') return enterJoint(conf, parsed, c.args.get('autoleave') === 'true');
  return leaveJoint(conf);
}

describe.skipIf(!present)('golden', () => {
  const files = (name: string): string[] => (present ? readdirSync(`${folder}${name}`) : []);

  test.each(files('quorum'))('quorum/%s', (file) => {
    const cases = parse(readFileSync(`${folder}quorum/${file}`, 'utf8'));
    expect(cases.length).toBeGreaterThan(5);
    for (const c of cases)
      expect([c.line, quorumAnswer(c)]).toEqual([c.line, c.output.at(-1)?.replace('<empty majority quorum>', '')]);
  });

  test.each(files('confchange'))('confchange/%s', (file) => {
    const cases = parse(readFileSync(`${folder}confchange/${file}`, 'utf8'));
    expect(cases.length).toBeGreaterThan(0);
    const tracker = new Tracker(emptyConf, wideLimits, { epoch: 0, lastIndex: 0 });
    cases.forEach((c, lastIndex) => {
      const result = change(tracker.conf, c);
      if (result.ok) tracker.setConf(result.conf, { epoch: lastIndex, lastIndex });
      expect([c.line, ...(result.ok ? describeConf(tracker) : [result.why])]).toEqual([c.line, ...c.output]);
    });
  });
});
