/** What the driver itself costs, in a namespace of its own: wiring, one change among many containers, a comparison with nothing to do. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execute } from '../../test/e2e/hosts.ts';
import type { Result } from './result.ts';

const script = fileURLToPath(new URL('./driver-host.ts', import.meta.url));

export async function measureDriver(say: (result: Result) => void): Promise<void> {
  const stateDir = mkdtempSync(join(tmpdir(), 'tsc-bench-'));
  try {
    const child = ['--net', process.execPath, '-C', 'source', '--import', 'tsx', script, stateDir];
    const { code, stdout, stderr } = await execute('unshare', child, { timeoutMs: 120_000 });
    if (code !== 0) throw new Error(`measuring the driver: ${stderr}`);
    for (const line of stdout.split('\n').filter((one) => one.startsWith('{'))) say(JSON.parse(line) as Result);
  } finally {
    rmSync(stateDir, { recursive: true, force: true });
  }
}
