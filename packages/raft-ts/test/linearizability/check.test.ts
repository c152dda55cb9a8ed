import fc from 'fast-check';
import type { Model, Operation, RegisterInput, RegisterOutput } from 'raft-ts/sim';
import { checkLinearizable, registerModel, seededRandom } from 'raft-ts/sim';
import { describe, expect, test } from 'vitest';
import { isLinearizable } from './brute-force.ts';

const never = Number.POSITIVE_INFINITY;
type RegisterOperation = Operation<RegisterInput, RegisterOutput>;

function write(value: string, call: number, end: number, process = 0): RegisterOperation {
  const output = end === never ? undefined : { done: true };
  return { process, input: { op: 'write', value }, output, call, return: end };
}

function read(value: string, call: number, end: number, process = 1): RegisterOperation {
  return { process, input: { op: 'read' }, output: { value }, call, return: end };
}

function cas(from: string, to: string, times: { call: number; end: number; done?: boolean }): RegisterOperation {
  const output = times.done === undefined ? undefined : { done: times.done };
  return { process: 2, input: { op: 'cas', from, to }, output, call: times.call, return: times.end };
}

function verdict(history: readonly RegisterOperation[], model = registerModel): string {
  return checkLinearizable(model, history).verdict;
}

/** A counter per key; `add` gives the sum after it. Without the hints `readOnly` and `hash`. */
interface CounterInput {
  readonly key: string;
  readonly add: number;
}
const counterModel: Model<number, CounterInput, number> = {
  init: 0,
  step: (state, { add }, output) => ({ ok: output === undefined || output === state + add, state: state + add }),
  key: ({ key }) => key,
};

describe('a register', () => {
  test('nothing happened, and nothing is wrong', () => {
    expect(checkLinearizable(registerModel, [])).toMatchObject({ verdict: 'linearizable', parts: [], steps: 0 });
  });

  test('a read that begins after a write ended sees it', () => {
    expect(verdict([write('1', 0, 1), read('1', 2, 3)])).toBe('linearizable');
    expect(verdict([write('1', 0, 1), read('nil', 2, 3)])).toBe('not-linearizable');
  });

  test('a read concurrent with a write may see either, but not the new and then the old', () => {
    expect(verdict([write('1', 0, 9), read('nil', 1, 2), read('1', 3, 4)])).toBe('linearizable');
    expect(verdict([write('1', 0, 9), read('1', 1, 2), read('nil', 3, 4)])).toBe('not-linearizable');
  });

  test('an answer at the very instant of a call counts as concurrent with it', () => {
    expect(verdict([write('1', 0, 5), read('nil', 5, 6)])).toBe('linearizable');
  });

  test('a write of unknown outcome may show at any time after its call, once, or never, and not before', () => {
    expect(verdict([write('1', 0, never), read('nil', 1, 2), read('1', 100, 101)])).toBe('linearizable');
    expect(verdict([write('1', 0, never), read('nil', 1, 2)])).toBe('linearizable');
    expect(verdict([write('1', 5, never), read('1', 1, 2)])).toBe('not-linearizable');
    const shownTwice = [write('1', 0, never), read('1', 1, 2), write('2', 3, 4), read('2', 5, 6), read('1', 7, 8)];
    expect(verdict(shownTwice)).toBe('not-linearizable');
    expect(verdict([...shownTwice, write('1', 3, never)])).toBe('linearizable');
  });

  test('a write that changes nothing where it stands may still be needed later', () => {
    const history = [write('1', 0, 1), write('1', 2, 9), write('2', 3, 4), read('1', 10, 11)];
    expect(verdict(history)).toBe('linearizable');
    expect(verdict([write('1', 0, 1), write('1', 2, never), write('2', 3, 4), read('1', 5, 6)])).toBe('linearizable');
  });

  test('a refused compare-and-set saw another value, one of unknown outcome may have done either', () => {
    expect(verdict([write('1', 0, 1), cas('1', '2', { call: 2, end: 3, done: false })])).toBe('not-linearizable');
    expect(verdict([write('1', 0, 1), cas('3', '2', { call: 2, end: 3, done: false })])).toBe('linearizable');
    const open = [write('1', 0, 1), cas('1', '2', { call: 2, end: never })];
    expect(verdict([...open, read('2', 4, 5)])).toBe('linearizable');
    expect(verdict([...open, read('1', 4, 5)])).toBe('linearizable');
    expect(verdict([...open, read('3', 4, 5)])).toBe('not-linearizable');
  });
});

describe('the result', () => {
  test('gives a valid order', () => {
    const history = [write('2', 0, 9), write('1', 1, 8), read('1', 2, 3), read('2', 4, 5)];
    const { parts } = checkLinearizable(registerModel, history);
    expect(parts[0]?.order).toEqual([history[1], history[2], history[0], history[3]]);
  });

  test('gives the longest beginning and says why nothing can follow', () => {
    const history = [write('1', 0, 1), read('1', 2, 3), write('2', 4, 5), read('1', 6, 7)];
    const { verdict, parts, explanation } = checkLinearizable(registerModel, history);
    expect(verdict).toBe('not-linearizable');
    expect(parts[0]?.order).toEqual(history.slice(0, 3));
    expect(explanation).toMatchInlineSnapshot(`
      "no order exists; at best 3 of 4 operations can be put in order
        … process 0: write 1 [0 to 1]
        … process 1: read → 1 [2 to 3]
        … process 0: write 2 [4 to 5]
        then the state is "2", and of what may come next
        ✗ does not fit: process 1: read → 1 [6 to 7]"
    `);
  });

  test('is unknown, never a guess, when the steps run out', () => {
    const writes = Array.from({ length: 12 }, (_, at) => write(String(at), 0, 100, at));
    const hopeless = [...writes, read('x', 101, 102)];
    expect(checkLinearizable(registerModel, hopeless, { maxSteps: 1000 })).toMatchObject({
      verdict: 'unknown',
      steps: 1000,
    });
    expect(verdict(hopeless)).toBe('not-linearizable');
  });

  test('one bad key condemns the history, and only that key is explained', () => {
    const add = (key: string, output: number, at: number): Operation<CounterInput, number> => {
      return { process: 0, input: { key, add: 1 }, output, call: at, return: at + 1 };
    };
    const { verdict, parts, explanation } = checkLinearizable(counterModel, [
      add('a', 1, 0),
      add('b', 1, 2),
      add('a', 2, 4),
      add('b', 1, 6),
    ]);
    expect(verdict).toBe('not-linearizable');
    expect(parts.map((part) => [part.key, part.verdict])).toEqual([
      ['a', 'linearizable'],
      ['b', 'not-linearizable'],
    ]);
    expect(explanation).toContain('at best 1 of 2 operations of key b');
  });
});

describe('bad questions', () => {
  test('an operation that ends before it begins is refused', () => {
    expect(() => verdict([write('1', 2, 1)])).toThrow(
      'Cannot check history: an operation of process 0 lasts from 2 to 1',
    );
    expect(() => verdict([write('1', Number.NaN, 1)])).toThrow(RangeError);
  });

  test('states that cannot be told apart are refused', () => {
    const step = (state: Map<string, string>) => ({ ok: true, state });
    expect(() => checkLinearizable({ init: new Map<string, string>(), step }, [])).toThrow(
      'Cannot check history: the model needs hash() for states of class Map',
    );
    expect(() => checkLinearizable({ init: new Map(), step, hash: (state) => [...state].join() }, [])).not.toThrow();
  });
});

describe('against every order, tried one by one', () => {
  const value = fc.constantFrom('nil', '0', '1');
  const input: fc.Arbitrary<RegisterInput> = fc.oneof(
    fc.constant({ op: 'read' } as const),
    fc.record({ op: fc.constant('write' as const), value }),
    fc.record({ op: fc.constant('cas' as const), from: value, to: value }),
  );
  const operation = fc
    .record({ input, value, done: fc.boolean(), call: fc.nat(12), lasts: fc.nat(6), open: fc.nat(3) })
    .map(({ input, value, done, call, lasts, open }, process = 0): RegisterOperation => {
      const end = open === 0 ? never : call + lasts;
      const output = input.op === 'read' ? { value } : { done: input.op === 'write' || done };
      return { process, input, output: open === 0 ? undefined : output, call, return: end };
    });

  test('the verdict on random histories of a register is the same', () => {
    const seen = { linearizable: 0, 'not-linearizable': 0, unknown: 0 };
    const { readOnly: _, ...plain } = registerModel;
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 7 }), (history) => {
        const expected = isLinearizable(registerModel, history) ? 'linearizable' : 'not-linearizable';
        seen[expected] += 1;
        expect(verdict(history)).toBe(expected);
        expect(verdict(history, plain)).toBe(expected);
      }),
      { seed: 11, numRuns: 3000 },
    );
    expect(Math.min(seen.linearizable, seen['not-linearizable'])).toBeGreaterThan(500);
  });

  test('the verdict on random histories of keyed counters is the same', () => {
    const counted = fc
      .record({ key: fc.constantFrom('a', 'b'), add: fc.nat(2), output: fc.nat(3), call: fc.nat(9), lasts: fc.nat(6) })
      .map(({ key, add, output, call, lasts }): Operation<CounterInput, number> => {
        const open = lasts === 6;
        return {
          process: 0,
          input: { key, add },
          output: open ? undefined : output,
          call,
          return: open ? never : call + lasts,
        };
      });
    const seen = { linearizable: 0, 'not-linearizable': 0 };
    fc.assert(
      fc.property(fc.array(counted, { maxLength: 7 }), (history) => {
        const expected = isLinearizable(counterModel, history) ? 'linearizable' : 'not-linearizable';
        seen[expected] += 1;
        expect(checkLinearizable(counterModel, history).verdict).toBe(expected);
      }),
      { seed: 12, numRuns: 3000 },
    );
    expect(Math.min(seen.linearizable, seen['not-linearizable'])).toBeGreaterThan(300);
  });
});

/** Clients that ask one thing after another of a register that obeys; now and then an answer is lost. */
function obedient(seed: number, operations: number, lostOneIn = 10): RegisterOperation[] {
  const random = seededRandom(seed);
  const draw = (below: number) => random.uint32() % below;
  const history: RegisterOperation[] = [];
  let state = 'nil';
  for (let at = 0; at < operations; at++) {
    // The moment of effect is 10 × at; calls and returns reach over those of the neighbours.
    const call = 10 * at - draw(60) - 1;
    const lost = draw(lostOneIn) === 0;
    const end = lost ? never : 10 * at + draw(60) + 1;
    const kind = draw(3);
    const [from, to] = [String(draw(4)), String(draw(4))];
    if (kind === 0) history.push({ ...read(state, call, end), output: lost ? undefined : { value: state } });
    else if (kind === 1) {
      history.push(write(to, call, end));
      state = to;
    } else {
      history.push(cas(from, to, lost ? { call, end } : { call, end, done: state === from }));
      if (state === from) state = to;
    }
  }
  return history;
}

describe('long histories', () => {
  test('what an obedient register did is linearizable, whatever answers were lost', () => {
    for (let seed = 1; seed <= 30; seed++) expect(verdict(obedient(seed, 300)), `seed ${seed}`).toBe('linearizable');
  });

  test('one read of a value that was never written is found among thousands of operations', () => {
    const history = obedient(7, 3000, 1000);
    const at = history.findIndex(
      ({ input, output }, index) => index > 1500 && input.op === 'read' && output !== undefined,
    );
    const lie = history[at];
    if (lie === undefined) throw new Error('no read');
    history[at] = { ...lie, output: { value: 'x' } };
    const { verdict, parts } = checkLinearizable(registerModel, history);
    expect(verdict).toBe('not-linearizable');
    expect(parts[0]?.order.length).toBeGreaterThan(1400);
  });
});
