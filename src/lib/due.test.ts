import { expect, test } from 'vitest';
import { DueQueue } from './due.ts';

test('what is due comes out in the order of its times, whatever the order in which it went in', () => {
  const queue = new DueQueue<string>();
  for (const [at, item] of [
    [30, 'c'],
    [10, 'a'],
    [30, 'd'],
    [20, 'b'],
    [40, 'e'],
  ] as const) {
    queue.add(at, item);
  }
  expect(queue.next).toBe(10);
  expect(queue.take(9)).toEqual([]);
  expect(queue.take(20)).toEqual(['a', 'b']);
  expect(queue.next).toBe(30);
  queue.add(5, 'late');
  queue.add(30, 'x');
  expect(queue.size).toBe(5);
  expect(queue.take(35)).toEqual(['late', 'c', 'd', 'x']);
  expect(queue.take(1000)).toEqual(['e']);
  expect(queue.next).toBeUndefined();
});
