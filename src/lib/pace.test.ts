import { expect, test } from 'vitest';
import { Pace } from './pace.ts';
import { VirtualClock } from './testing/virtual-clock.ts';

test('work goes on at once until a piece is full, then in the next turn', async () => {
  const clock = new VirtualClock();
  const pace = new Pace(clock, 3);
  const done: string[] = [];
  const work = async () => {
    for (let at = 1; at <= 7; at++) {
      done.push(String(at));
      await pace.spend();
    }
  };
  const finished = work();
  clock.defer(() => done.push('another'));
  await clock.settle(finished);
  expect(done.join(' ')).toBe('1 2 3 another 4 5 6 7');
});

test('a unit that is larger than a piece takes a turn', () => {
  const pace = new Pace(new VirtualClock(), 3);
  expect([pace.spend(2), pace.spend(5) === undefined, pace.spend(2)]).toEqual([undefined, false, undefined]);
});

test('each item is looked at once, as listed at the beginning, and those that cost more end a turn sooner', async () => {
  const clock = new VirtualClock();
  const items = [1, 2, 3, 4];
  const seen: string[] = [];
  const finished = new Pace(clock, 3).each(items, (item) => {
    items.push(9);
    seen.push(String(item));
    return item;
  });
  clock.defer(() => seen.push('another'));
  await clock.settle(finished);
  expect(seen.join(' ')).toBe('1 2 3 another 4');
});
