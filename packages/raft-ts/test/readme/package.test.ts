import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { install, type Project, packageFolder } from './installed.ts';

interface Manifest {
  readonly exports: Readonly<Record<string, unknown>>;
  readonly dependencies?: unknown;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional?: boolean }>>;
}

const manifest = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as Manifest;
const readme = readFileSync(join(packageFolder, 'README.md'), 'utf8');
const subpaths = ['.', './core', './wal', './grpc', './sim'];
const nameOf = (subpath: string) => `raft-ts${subpath.slice(1)}`;

describe('what the manifest promises', () => {
  test('five entry points', () => {
    expect(Object.keys(manifest.exports)).toEqual(subpaths);
  });

  test('no dependency, and gRPC only for who wants its transport', () => {
    expect(manifest.dependencies).toBeUndefined();
    expect(Object.keys(manifest.peerDependencies)).toEqual(['@grpc/grpc-js']);
    expect(manifest.peerDependenciesMeta['@grpc/grpc-js']).toEqual({ optional: true });
  });
});

describe('the README', () => {
  test('stays a page', () => {
    expect(readme.trimEnd().split('\n').length).toBeLessThanOrEqual(150);
  });

  test('names commands that exist', () => {
    const named = [...readme.matchAll(/npm run (\S+) -w raft-ts/g)].map(([, name]) => name);
    const { scripts } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter((name) => scripts[name ?? ''] === undefined)).toEqual([]);
    expect(execFileSync('bash', ['-n', join(packageFolder, 'bench/etcd/run')], { encoding: 'utf8' })).toBe('');
  });
});

describe('the packed package in an empty project', { timeout: 180_000 }, () => {
  let project: Project;
  beforeAll(() => {
    project = install();
  }, 180_000);
  afterAll(() => project.remove());

  test('holds code, types, sources and documents, and no tests or tools', () => {
    const folders = new Set(project.packed.map((path) => path.split('/')[0]));
    expect([...folders].sort()).toEqual(['LICENSE', 'README.md', 'dist', 'docs', 'package.json', 'src']);
    expect(project.packed.filter((path) => path.includes('.test.'))).toEqual([]);
  });

  test('publint finds nothing', async () => {
    const { messages, pkg } = await publint({
      pkgDir: join(project.folder, 'node_modules/raft-ts'),
      pack: false,
      strict: true,
    });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });

  test('all but ./grpc loads in plain node with nothing else installed', () => {
    for (const subpath of subpaths.filter((path) => path !== './grpc')) {
      expect(exportsOf(project, nameOf(subpath)).length, subpath).toBeGreaterThan(0);
    }
    expect(() => exportsOf(project, 'raft-ts/grpc')).toThrow("Cannot find package '@grpc/grpc-js'");
  });

  test('nothing else can be reached', () => {
    expect(() => exportsOf(project, 'raft-ts/dist/index.js')).toThrow('ERR_PACKAGE_PATH_NOT_EXPORTED');
    expect(() => exportsOf(project, 'raft-ts/driver')).toThrow('ERR_PACKAGE_PATH_NOT_EXPORTED');
  });

  test('each entry point gives what the README names', () => {
    project.link('@grpc/grpc-js');
    expect(exportsOf(project, 'raft-ts')).toEqual(
      expect.arrayContaining([
        'NodeClosed',
        'NotLeaderError',
        'OutcomeUnknown',
        'ProposalDropped',
        'RaftNode',
        'nodeRuntime',
      ]),
    );
    expect(exportsOf(project, 'raft-ts/core')).toEqual(expect.arrayContaining(['RaftCore', 'RaftFault']));
    expect(exportsOf(project, 'raft-ts/wal')).toEqual(expect.arrayContaining(['FileSnapshotStore', 'WalLogStore']));
    expect(exportsOf(project, 'raft-ts/grpc')).toEqual(expect.arrayContaining(['GrpcTransport', 'raftService']));
    expect(exportsOf(project, 'raft-ts/sim')).toEqual(expect.arrayContaining(['VirtualRuntime', 'checkLinearizable']));
  });

  test('the types of ./core need neither Node nor a browser', () => {
    project.write(
      'core.ts',
      "import { RaftCore, type Message } from 'raft-ts/core';\nexport const made: [typeof RaftCore, Message[]] = [RaftCore, []];\n",
    );
    project.check({ module: 'nodenext', lib: ['es2023'], types: [] }, ['core.ts']);
  });

  test('the types of every entry point are whole, and the replicated counter of the README fits them', async () => {
    project.link('@types/node');
    project.link('undici-types');
    const imports = subpaths.map((path, at) => `import * as m${String(at)} from '${nameOf(path)}';`);
    const uses = [
      'export const all: object[] = [m0, m1, m2, m3, m4];',
      "export const name: 'NotLeaderError' = new m0.NotLeaderError(0).name;",
      '// @ts-expect-error -- were the types missing, anything would do',
      'export const wrong = m0.noSuchThing;',
    ];
    project.write('all.ts', `${[...imports, ...uses].join('\n')}\n`);
    project.write('counter.ts', await example());
    const options = { module: 'nodenext', lib: ['es2023'], types: ['node'], skipLibCheck: false };
    project.check(options, ['all.ts', 'counter.ts']);
  });

  test('the replicated counter counts, and goes on counting after a restart', async () => {
    const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext };
    project.write('counter.js', ts.transpileModule(await example(), { compilerOptions }).outputText);
    expect(project.node('counter.js').trim().split('\n')).toEqual(['5', '5']);
    expect(project.node('counter.js').trim().split('\n')).toEqual(['10', '10']);
  });
});

function exportsOf(project: Project, specifier: string): string[] {
  const program = `console.log(JSON.stringify(Object.keys(await import(${JSON.stringify(specifier)}))))`;
  return JSON.parse(project.node('--input-type=module', '-e', program)) as string[];
}

/** The code as printed, but for ports that may be taken here. */
async function example(): Promise<string> {
  const [, code] = /```ts\n(.*?)```/s.exec(readme) ?? [];
  if (code === undefined) throw new Error('the README has no example');
  const ports = await freePorts(3);
  return code.replaceAll(
    /127\.0\.0\.1:700([123])/g,
    (_, node: string) => `127.0.0.1:${String(ports[Number(node) - 1])}`,
  );
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) => {
          server.once('listening', () => {
            const address = server.address();
            resolve(typeof address === 'object' && address !== null ? address.port : 0);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
