import { describe, test } from 'vitest';
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
