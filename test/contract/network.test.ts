/** The real network driver inside a namespace of its own. Needs root, iproute2 and nftables. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('./network-host.ts', import.meta.url));

/** A process can not change its own network namespace: the checks run in a child that was born in one. */
test('tasks get addresses, egress rules and published ports, and everything goes again', async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'tsc-net-'));
  const child = spawn('unshare', ['--net', process.execPath, '-C', 'source', '--import', 'tsx', script, stateDir], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  await new Promise((resolve) => child.on('close', resolve));
  rmSync(stateDir, { recursive: true, force: true });
  expect(JSON.parse(stdout.trim().split('\n').at(-1) || JSON.stringify({ stderr }))).toEqual({
    addresses: ['172.30.0.2', '172.30.0.3'],
    again: '172.30.0.2',
    viaLoopback: 'hello',
    viaAddress: 'hello',
    fromOtherTask: 'hello',
    fromItself: 'hello',
    taken: 'Bind for 0.0.0.0:8080/tcp failed: port is already allocated (task a)',
    afterRestart: 'hello',
    afterDetach: 'refused',
    reused: '172.30.0.4',
    linksLeft: 0,
    tablesLeft: '',
  });
});
