import { describe, expect, test } from 'vitest';
import type { ConfChange, ConfState } from '../../src/core/index.ts';
import {
  changeConf,
  checkConf,
  decodeConfChange,
  emptyConf,
  encodeConfChange,
  RaftFault,
} from '../../src/core/index.ts';
import { Random } from './harness.ts';

const three: ConfState = { ...emptyConf, voters: [1, 2, 3] };
const kinds = ['voter', 'learner', 'remove', 'update'] as const;
const transitions = ['auto', 'joint-implicit', 'joint-explicit'] as const;

function after(conf: ConfState, change: ConfChange): ConfState {
  const result = changeConf(conf, change);
  if (!result.ok) throw new Error(result.why);
  return result.conf;
}

describe('confchange', () => {
  test('encoding and decoding give the same change back', () => {
    const change: ConfChange = {
      transition: 'joint-explicit',
      ops: [
        { op: 'learner', id: Number.MAX_SAFE_INTEGER },
        { op: 'update', id: 1 },
      ],
      context: new Uint8Array([0, 255]),
    };
    expect(decodeConfChange(encodeConfChange(change))).toEqual(change);
    expect(decodeConfChange(encodeConfChange({ transition: 'auto', ops: [] }))).toEqual({
      transition: 'auto',
      ops: [],
    });
  });

  test('bytes that are no change are a fault, whatever they are', () => {
    const random = new Random(3);
    const good = encodeConfChange({ transition: 'auto', ops: [{ op: 'voter', id: 300 }] });
    for (let length = 0; length < good.length; length += 1) {
      expect(() => decodeConfChange(good.slice(0, length))).toThrow(RaftFault);
    }
    for (let round = 0; round < 500; round += 1) {
      const bytes = Uint8Array.from({ length: random.below(12) }, () => random.below(256));
      try {
        decodeConfChange(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(RaftFault);
      }
    }
  });

  test('one voter may be exchanged for another only through a joint configuration', () => {
    const ops = [
      { op: 'remove', id: 1 },
      { op: 'voter', id: 4 },
    ] as const;
    const joint = after(three, { transition: 'auto', ops });
    expect(joint).toEqual({ voters: [2, 3, 4], outgoing: [1, 2, 3], learners: [], learnersNext: [], autoLeave: true });
    expect(after(joint, { transition: 'auto', ops: [] })).toEqual({ ...emptyConf, voters: [2, 3, 4] });
  });

  test('a demoted voter waits as a future learner until the joint configuration is left', () => {
    const joint = after(three, { transition: 'joint-explicit', ops: [{ op: 'learner', id: 3 }] });
    expect(joint).toMatchObject({ voters: [1, 2], learners: [], learnersNext: [3], autoLeave: false });
    expect(after(joint, { transition: 'auto', ops: [] })).toMatchObject({
      voters: [1, 2],
      learners: [3],
      learnersNext: [],
    });
  });

  test('every accepted change leaves a sound configuration', () => {
    const random = new Random(11);
    let conf = three;
    let accepted = 0;
    for (let round = 0; round < 3000; round += 1) {
      const ops = Array.from({ length: random.below(4) }, () => ({
        op: random.pick(kinds) ?? 'voter',
        id: 1 + random.below(6),
      }));
      const result = changeConf(conf, { transition: random.pick(transitions) ?? 'auto', ops });
      if (!result.ok) continue;
      accepted += 1;
      conf = result.conf;
      expect(checkConf(conf)).toBeUndefined();
      expect(conf.voters.length).toBeGreaterThan(0);
    }
    expect(accepted).toBeGreaterThan(500);
  });
});
