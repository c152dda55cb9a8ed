import { describe, expect, test } from 'vitest';
import { run } from './exec.ts';

describe('a program', () => {
  test('that does not end is killed, and named', async () => {
    await expect(run('sleep', ['60'], '', 50)).rejects.toMatchObject({
      kind: 'deadline',
      message: 'sleep 60: killed, it did not end in 0.05 s',
    });
  });

  test('says what it said, or why it failed', async () => {
    expect(await run('cat', [], 'hello')).toBe('hello');
    await expect(run('sh', ['-c', 'echo no >&2; exit 3'])).rejects.toMatchObject({
      kind: 'internal',
      message: /: no$/,
    });
    await expect(run('there-is-no-such-program', [])).rejects.toMatchObject({ kind: 'failed_precondition' });
  });
});
