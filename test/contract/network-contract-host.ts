/** Run by network.test.ts in a fresh network namespace: the contract on the real driver; prints what failed as one JSON line. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../src/lib/errors.ts';
import { silentLog } from '../../src/lib/log.ts';
import { realClock, realRandom } from '../../src/lib/real.ts';
import { networkContract } from '../../src/worker/network/contract.ts';
import { createNetworkDriver } from '../../src/worker/network/driver.ts';
import { execute } from '../e2e/hosts.ts';

await execute('ip', ['link', 'set', 'lo', 'up']);
const failures: Record<string, string> = {};
for (const check of networkContract) {
  const stateDir = mkdtempSync(join(tmpdir(), 'tsc-net-'));
  const open = async () => {
    const made = createNetworkDriver({
      stateDir,
      prefix: `tscnc${process.pid}`,
      clock: realClock,
      random: realRandom,
      log: silentLog,
    });
    await made.start();
    return made;
  };
  let driver = await open();
  const reopen = async () => {
    await driver.close();
    driver = await open();
    return driver;
  };
  try {
    await check.run({ driver, reopen });
  } catch (error) {
    failures[check.name] = messageOf(error);
  }
  await driver.destroy();
  await driver.close();
  rmSync(stateDir, { recursive: true, force: true });
}
const left = (await execute('ip', ['netns', 'list'])).stdout
  .split('\n')
  .filter((one) => one.startsWith(`tscnc${process.pid}`));
if (left.length > 0) failures['nothing left'] = left.join();
process.stdout.write(`${JSON.stringify(failures)}\n`);
process.exit(0);
