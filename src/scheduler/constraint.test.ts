import { expect, test } from 'vitest';
import type { Node } from '../model/objects.ts';
import { constraintsMatch, parseConstraint } from './constraint.ts';

const node: Node = {
  id: 'abc',
  meta: { version: 1, createdAt: 0, updatedAt: 0 },
  spec: { Labels: { security: 'Low', Zone: 'a' }, Role: 'worker', Availability: 'active' },
  role: 'manager',
  description: {
    hostname: 'Host1',
    platform: { architecture: 'x86_64', os: 'linux' },
    resources: {},
    engine: { version: '1', labels: { disk: 'ssd' }, plugins: [] },
  },
  status: { state: 'ready', message: '', addr: '10.1.2.3', since: 0 },
};

test.each([
  ['node.id == abc', true],
  ['node.id==ABC', true],
  ['node.hostname != host1', false],
  ['node.role == manager', true],
  ['node.role == worker', false],
  ['node.platform.os == linux', true],
  ['node.platform.arch == amd64', true],
  ['node.platform.arch != x86_64', false],
  ['node.labels.security == low', true],
  ['NODE.LABELS.security == low', true],
  ['node.labels.zone == a', false],
  ['node.labels.missing == a', false],
  ['node.labels.missing != a', true],
  ['engine.labels.disk == ssd', true],
  ['node.ip == 10.1.2.3', true],
  ['node.ip == 10.1.0.0/16', true],
  ['node.ip != 10.1.0.0/16', false],
  ['node.ip == 10.2.0.0/16', false],
  ['node.ip == 10.1.2', false],
  ['node.ip != 10.1.2', false],
  ['node.ip == 10.1.0.0/33', false],
  ['node.color != red', false],
  ['node.labels.__proto__ == x', false],
])('%s: %s', (expression, expected) => {
  expect(constraintsMatch([expression], node)).toBe(expected);
});

test.each([
  ['2001:db8::1', 'node.ip == 2001:db8::/32', true],
  ['2001:db8::1', 'node.ip == 2001:db8:0:0:0:0:0:1', true],
  ['2001:db9::1', 'node.ip == 2001:db8::/32', false],
  ['10.0.0.1', 'node.ip != 2001:db8::/32', true],
])('at %s, %s: %s', (addr, expression, expected) => {
  expect(constraintsMatch([expression], { ...node, status: { ...node.status, addr } })).toBe(expected);
});

test('several constraints must all hold', () => {
  expect(constraintsMatch(['node.id == abc', 'node.role == worker'], node)).toBe(false);
  expect(constraintsMatch(undefined, node)).toBe(true);
});

test.each([
  ['node.id = abc', 'constraint expected one operator from ==, !='],
  ['x! == a', "key 'x!' is invalid"],
  ['node.id == >', "value '>' is invalid"],
  ['node.id ==', "value '' is invalid"],
])('%s is refused', (expression, message) => {
  expect(() => parseConstraint(expression)).toThrow(message);
});
