/**
 * Data-driven scripts in the format of the etcd project. The public files lie beside the repository, not in it; where they
 * are absent the suite says so and runs only its own.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { runScript } from '../../tools/transcripts/run.ts';
import { parseLine, parseScript } from '../../tools/transcripts/script.ts';

const folder = fileURLToPath(new URL('../../../../../shared/data/raft-testdata/', import.meta.url));
const present = existsSync(folder);
if (!present) console.warn('SKIPPED: raft-testdata is not there, the public transcripts were not run');

const own = `
# Two nodes, of which the second has a learner's place only.
log-level none
----
ok

add-nodes 2 voters=(1) learners=(2) index=2
----
ok

campaign 1
stabilize
----
ok

log-level info
----
ok

propose 2 forwarded
----
ok

stabilize
----
> 2 handling Ready
  Ready MustSync=false:
  Messages:
  2->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "forwarded"]
> 1 receiving messages
  2->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "forwarded"]
> 1 handling Ready
  Ready MustSync=true:
  Entries:
  1/4 EntryNormal "forwarded"
  Messages:
  1->2 MsgApp Term:1 Log:1/3 Commit:3 Entries:[1/4 EntryNormal "forwarded"]
> 2 receiving messages
  1->2 MsgApp Term:1 Log:1/3 Commit:3 Entries:[1/4 EntryNormal "forwarded"]
> 1 handling Ready
  Ready MustSync=false:
  HardState Term:1 Vote:1 Commit:4
  CommittedEntries:
  1/4 EntryNormal "forwarded"
  Messages:
  1->2 MsgApp Term:1 Log:1/4 Commit:4
> 2 handling Ready
  Ready MustSync=true:
  Entries:
  1/4 EntryNormal "forwarded"
  Messages:
  2->1 MsgAppResp Term:1 Log:0/4
> 1 receiving messages
  2->1 MsgAppResp Term:1 Log:0/4
> 2 receiving messages
  1->2 MsgApp Term:1 Log:1/4 Commit:4
> 2 handling Ready
  Ready MustSync=false:
  HardState Term:1 Commit:4
  CommittedEntries:
  1/4 EntryNormal "forwarded"
  Messages:
  2->1 MsgAppResp Term:1 Log:0/4
> 1 receiving messages
  2->1 MsgAppResp Term:1 Log:0/4

status 1
----
1: StateReplicate match=4 next=5
2: StateReplicate match=4 next=5 learner

compact 1 3
----
1/4 EntryNormal "forwarded"

raft-log 2
----
1/3 EntryNormal ""
1/4 EntryNormal "forwarded"

no-such-directive
----
unknown command
`;

describe('transcripts', () => {
  test.skipIf(!present).each(
    present
      ? readdirSync(folder, { recursive: true, encoding: 'utf8' })
          .filter((path) => path.endsWith('.txt'))
          .sort()
      : [],
  )('%s', (path) => {
    expect(runScript(readFileSync(`${folder}${path}`, 'utf8'))).toEqual({ ok: true });
  });

  test('a script of our own, with a forwarded proposal and several directives in one', () => {
    expect(runScript(own)).toEqual({ ok: true });
  });

  test('the first difference is told with its line', () => {
    const line = own.split('\n').indexOf('1: StateReplicate match=4 next=5') + 1;
    const altered = own.replace('1: StateReplicate match=4', '1: StateReplicate match=5');
    expect(runScript(altered)).toEqual({
      ok: false,
      why:
        `line ${String(line)}: expected "1: StateReplicate match=5 next=5", ` +
        'got "1: StateReplicate match=4 next=5"',
    });
  });

  test('without log lines only what was done is compared', () => {
    const script = 'add-nodes 1 voters=(1) index=2\n----\nINFO something else\n\nstatus 1\n----\nok\n';
    expect(runScript(script)).toMatchObject({ ok: false });
    expect(runScript(script, { semantic: true })).toEqual({ ok: true });
    expect(runScript(script.replace('\nok', '\nnot ok'), { semantic: true })).toMatchObject({ ok: false });
  });

  test('quorums and changes of membership are known by their directives', () => {
    const quorum = 'committed cfg=(1,2,3) idx=(7,5,_)\n----\n       idx\nxx>      7    (id=1)\nx>       5    (id=2)\n';
    expect(runScript(`${quorum}?        0    (id=3)\n5\n`)).toEqual({ ok: true });
    expect(runScript('vote cfg=(1,2) cfgj=(2,3) votes=(y,y,n)\n----\nVotePending\n')).toMatchObject({ ok: false });
    expect(runScript('simple\nv1\n----\nvoters=(1)\n1: StateProbe match=0 next=1\n')).toEqual({ ok: true });
    expect(runScript('Just text.\n')).toBeUndefined();
  });

  test('output with blank lines stands between doubled separators', () => {
    const text = 'one a=(1, 2) b=c d\n----\n----\nx\n\ny\n----\n----\n\ntwo\n----\nok\n';
    expect(parseScript(text)).toMatchObject([
      {
        line: 1,
        name: 'one',
        args: [
          { key: 'a', values: ['1', '2'] },
          { key: 'b', values: ['c'] },
          { key: 'd', values: [] },
        ],
        expected: ['x', '', 'y'],
        expectedLine: 4,
      },
      { line: 10, name: 'two', expected: ['ok'] },
    ]);
    expect(() => parseScript('one\n')).toThrow('line 1: no ----');
    expect(() => parseLine('one =x', 3)).toThrow('line 3');
  });
});

describe('what is no script of ours', () => {
  const why = (text: string): string | undefined => {
    const result = runScript(text);
    return result === undefined || result.ok ? undefined : result.why;
  };

  test.each([
    ['vote cfg=(1) votes=(y)\n----\nVoteWon\n\nveto cfg=(1)\n----\nVoteWon\n', 'line 5: unknown directive "veto"'],
    [
      'simple\nv1\n----\nvoters=(1)\n1: StateProbe match=0 next=1\n\nabolish\n----\n',
      'line 7: unknown directive "abolish"',
    ],
    ['log-level none\nadd-nodes 1\nfortify 1\n----\nok\n', 'line 3: unknown directive "fortify"'],
    ['fortify 1\n----\nok\n', 'line 1: unknown directive "fortify"'],
    ['add-nodes 1 sharded=true\n----\nok\n', 'line 1: add-nodes: unknown setting "sharded"'],
    ['add-nodes 1000000000\n----\nok\n', 'line 1: add-nodes: more than 1000 nodes'],
    ['committed cfg=(1,x) idx=(1,2)\n----\n1\n', 'line 1: committed: not a number: "x"'],
    ['simple\nv99999999999999999999\n----\nok\n', 'line 1: simple: not a number: "99999999999999999999"'],
    ['campaign 1\n----\n----\nok\n', 'line 1: output is not closed by two ----'],
  ])('%j fails with its line', (text, expected) => {
    expect(why(text)).toBe(expected);
  });

  test('an unknown directive is as good as another where the script is about it', () => {
    expect(runScript('log-level info\n----\nok\n\nfortify 1\n----\nunknown command\n')).toEqual({ ok: true });
  });

  test('line ends of both kinds, and a mark of the byte order, are read', () => {
    const text = 'vote cfg=(1) votes=(y)\r\n----\r\nVoteWon\r\n';
    expect(runScript(text)).toEqual({ ok: true });
    expect(runScript(`\uFEFF${text}`)).toEqual({ ok: true });
  });
});

test('the command follows links, tells what is missing or unreadable, and goes on', () => {
  const root = mkdtempSync(join(tmpdir(), 'scripts-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const good = 'vote cfg=(1) votes=(y)\n----\nVoteWon\n';
  mkdirSync(join(root, 'here/a/b'), { recursive: true });
  mkdirSync(join(root, 'there'));
  writeFileSync(join(root, 'here/a/b/deep.txt'), good);
  writeFileSync(join(root, 'here/noise.bin'), new Uint8Array([0, 255, 10, 45, 45]));
  writeFileSync(join(root, 'here/README.md'), 'Title\n----\nText.\n');
  writeFileSync(join(root, 'here/odd.txt'), 'fortify 1\n----\nok\n');
  writeFileSync(join(root, 'there/far.txt'), good);
  symlinkSync(join(root, 'there'), join(root, 'here/link'));
  symlinkSync(join(root, 'here'), join(root, 'here/loop'));
  symlinkSync(join(root, 'nowhere'), join(root, 'here/nowhere'));
  const main = fileURLToPath(new URL('../../tools/transcripts/main.ts', import.meta.url));
  const args = ['-C', 'source', '--import', 'tsx', main, 'missing', 'here'];
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  const { stdout, status } = spawnSync(process.execPath, args, { cwd, env: { ...process.env, INIT_CWD: root } });
  expect(stdout.toString().split('\n')).toEqual([
    expect.stringContaining('FAIL missing: ENOENT: no such file or directory'),
    'ok here/a/b/deep.txt',
    'ok here/link/far.txt',
    'FAIL here/odd.txt: line 1: unknown directive "fortify"',
    '2 passed, 2 failed',
    '',
  ]);
  expect(status).toBe(1);
});
