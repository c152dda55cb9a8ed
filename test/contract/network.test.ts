/** The real network driver inside a namespace of its own. Needs root, iproute2 and nftables. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** A process can not change its own network namespace: the checks run in a child that was born in one. */
async function inNamespace(script: string, ...more: readonly string[]): Promise<unknown> {
  const stateDir = mkdtempSync(join(tmpdir(), 'tsc-net-'));
  const path = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(
    'unshare',
    ['--net', ...more, process.execPath, '-C', 'source', '--import', 'tsx', path, stateDir],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += chunk));
  child.stderr.on('data', (chunk) => (stderr += chunk));
  await new Promise((resolve) => child.on('close', resolve));
  rmSync(stateDir, { recursive: true, force: true });
  return JSON.parse(stdout.trim().split('\n').at(-1) || JSON.stringify({ stderr }));
}

test('the real driver keeps the contract', async () => {
  expect(await inNamespace('./network-contract-host.ts')).toEqual({});
});

test('a container without networks asks 127.0.0.11, which reaches a resolver on the loopback of the host', async () => {
  expect(await inNamespace('./network-names.ts', '--mount')).toEqual({
    resolvConf: 'nameserver 127.0.0.11',
    known: '192.0.2.77',
    unknown: 'ENOTFOUND',
    ofTheCluster: 'ENOTFOUND',
    noneIsTold: false,
    noneIsAnswered: 'ECONNREFUSED',
  });
});

test('tasks get addresses, egress rules and published ports, and everything goes again', async () => {
  expect(await inNamespace('./network-host.ts')).toEqual({
    waited: true,
    addresses: ['172.28.1.2', '172.28.1.3', null, null],
    hostNamespace: '',
    linksOfNone: 'lo',
    again: '172.28.1.2',
    viaLoopback: 'hello',
    viaAddress: 'hello',
    fromOtherTask: 'hello',
    fromItself: 'hello',
    pastTheRules: 'refused',
    taken: 'Bind for 0.0.0.0:8080/tcp failed: port is already allocated (task a)',
    listed: ['a', 'b', 'h', 'n'],
    afterRestart: 'hello',
    afterDetach: 'refused',
    notReused: '172.28.1.6',
    linksLeft: 0,
    tablesLeft: '',
    namespacesLeft: 0,
  });
});
