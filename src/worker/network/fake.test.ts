import { describe, expect, test } from 'vitest';
import { emptyNetworkState } from '../../model/network.ts';
import { networkContract } from './contract.ts';
import { FakeNetworkDriver } from './fake.ts';

describe('the fake network', () => {
  test.each(networkContract.map((check) => [check.name, check] as const))('%s', async (_, check) => {
    const driver = new FakeNetworkDriver();
    await driver.start();
    const reopen = async () => {
      await driver.close();
      return driver.reopen();
    };
    await check.run({ driver, reopen });
  });
});

test('what it is told to fail at is in place when it succeeds, which is told', async () => {
  const driver = new FakeNetworkDriver();
  let told = 0;
  driver.onProblems(() => told++);
  const states = [1, 2].map((version) => ({ ...emptyNetworkState, version }));
  const [first = emptyNetworkState, second = emptyNetworkState] = states;
  await driver.apply(first);
  driver.setFailing(true);
  await driver.apply(second);
  expect([driver.inPlace(), told]).toEqual([first, 0]);
  driver.setFailing(false);
  expect([driver.inPlace(), told]).toEqual([second, 1]);
});
