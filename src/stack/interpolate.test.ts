import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { interpolate, interpolateTree } from './interpolate.ts';

const variables = { A: 'a', EMPTY: '', PORT: '8080', N: '3' };

describe('interpolation', () => {
  test.each([
    ['$A-${A}', 'a-a'],
    ['${UNSET}', ''],
    ['${EMPTY:-d} ${EMPTY-d} ${UNSET-d}', 'd  d'],
    ['${A:+yes} ${EMPTY:+yes} ${EMPTY+yes} ${UNSET+yes}', 'yes  yes '],
    ['${A:?needed}', 'a'],
    ['${UNSET:-${A}/${EMPTY:-x}}', 'a/x'],
    ['$$A $${A}', '$A ${A}'],
    ['${UNSET:-a:b-c}', 'a:b-c'],
    ['no variables', 'no variables'],
  ])('%s', (text, expected) => expect(interpolate(text, variables)).toBe(expected));

  test.each(['$', '${', '${}', '${A', '$ A', '${1}', '${A!b}', 'x$'])('%j is refused', (text) => {
    expect(() => interpolate(text, variables, ['services', 'web', 'image'])).toThrow(
      /invalid interpolation format for services\.web\.image: .*you may need to escape any \$ with another \$/,
    );
  });

  test('a required variable says its message', () => {
    expect(() => interpolate('${T:?need T}', {}, ['x'])).toThrow('"required variable T is missing a value: need T"');
    expect(() => interpolate('${EMPTY:?}', variables, ['x'])).toThrow('"required variable EMPTY is missing a value"');
  });

  test('numbers and truth values are cast where they are expected, only when something was replaced', () => {
    const tree = {
      web: {
        ports: [{ target: '${PORT}', published: '80' }],
        tty: '${T:-yes}',
        image: '${N}',
        deploy: { replicas: '$N' },
      },
    };
    expect(interpolateTree(tree, ['services'], variables)).toEqual({
      web: { ports: [{ target: 8080, published: '80' }], tty: true, image: '3', deploy: { replicas: 3 } },
    });
    expect(() => interpolateTree({ w: { tty: '$A' } }, ['services'], variables)).toThrow(
      'services.w.tty: "a" is not a truth value',
    );
  });

  test('any text either gives a string or a clear error', () => {
    const pieces = fc.array(fc.constantFrom('$', '{', '}', ':', '-', '?', '+', 'A', 'UNSET', ' '), { maxLength: 12 });
    fc.assert(
      fc.property(pieces, (parts) => {
        try {
          expect(typeof interpolate(parts.join(''), variables)).toBe('string');
        } catch (error) {
          expect(String(error)).toContain('invalid interpolation format');
        }
      }),
      { seed: 7, numRuns: 500 },
    );
  });
});
