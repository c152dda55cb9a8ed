/** The demo itself, as `npm run demo` starts it once everything is installed: it succeeds, says so, and leaves nothing. */
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { execute, projectDir } from './hosts.ts';

test('the demo does the main job and leaves nothing behind', async () => {
  const script = join(projectDir, 'scripts/demo.ts');
  const result = await execute(process.execPath, ['-C', 'source', '--import', 'tsx', script], { timeoutMs: 170_000 });
  expect(result.code, result.stderr).toBe(0);
  const report = JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
  expect(report).toMatchObject({ demo: 'ok' });
  expect((await execute('ip', ['netns', 'list'])).stdout).not.toContain('tsd');
  expect((await execute('ip', ['-o', 'link', 'show'])).stdout).not.toContain('tsd0');
  expect((await execute('pgrep', ['-f', 'tscluster-tsd/'])).stdout).toBe('');
  expect((await execute('find', ['/sys/fs/cgroup', '/run/containerd/runc', '-name', 'tsd-n*'])).stdout).toBe('');
  expect(existsSync(join(tmpdir(), 'tscluster-tsd'))).toBe(false);
});
