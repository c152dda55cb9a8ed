/** Three processes of `server.ts` on raft-ts as it would be installed: compiled, and reached by its name. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import type { Child, Workplace } from './processes.ts';
import { poll } from './processes.ts';
import { statusPath } from './protocol.ts';
import type { ServerConfig, ServerStatus } from './server.ts';
import { type Counters, NodeClient, type Subject } from './subject.ts';

const here = dirname(fileURLToPath(import.meta.url));
const thisPackage = join(here, '../..');
const host = 3;

export interface OursOptions {
  readonly firstPort: number;
  readonly syncDelayMs: number;
  readonly package: string | undefined;
  readonly profile: string | undefined;
  readonly snapshotEveryEntries?: number;
}

export class Ours implements Subject {
  readonly name = 'ours';
  readonly title = 'raft-ts';
  readonly nodes: readonly NodeClient[];
  readonly #workplace: Workplace;
  readonly #options: OursOptions;
  readonly #program: string;
  readonly #children: Child[] = [];

  constructor(workplace: Workplace, options: OursOptions) {
    this.#workplace = workplace;
    this.#options = options;
    this.#program = install(join(workplace.directory, 'program'), options.package ?? thisPackage);
    this.nodes = Array.from({ length: host }, (_, at) => new NodeClient(options.firstPort + host + at));
  }

  async start(): Promise<void> {
    for (let at = 0; at < host; at++) this.startNode(at);
    await poll(() => this.leader(), { limitMs: 20_000, what: `raft-ts elects a leader\n${this.#outputs()}` });
  }

  startNode(at: number): void {
    const { firstPort, syncDelayMs, profile, snapshotEveryEntries } = this.#options;
    const config: ServerConfig = {
      id: at + 1,
      directory: join(this.#workplace.directory, `ours-${String(at + 1)}`),
      clientPort: firstPort + host + at,
      raftPorts: Array.from({ length: host }, (_, other) => firstPort + other),
      syncDelayMs,
      ...(snapshotEveryEntries === undefined ? {} : { snapshotEveryEntries }),
    };
    const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
    this.#children[at] = this.#workplace.start(process.execPath, [...flags, this.#program, JSON.stringify(config)]);
    this.nodes[at]?.reconnect();
  }

  async killNode(at: number): Promise<void> {
    await this.#children[at]?.stop('SIGKILL');
  }

  async leader(): Promise<number | undefined> {
    for (const [at, child] of this.#children.entries()) {
      if (!child.running) continue;
      const status = await this.status(at).catch(() => undefined);
      if (status?.role === 'leader') return at;
    }
    return undefined;
  }

  async status(at: number): Promise<ServerStatus> {
    const answer = await this.nodes[at]?.call(statusPath, Buffer.alloc(0), 1000);
    return JSON.parse(String(answer)) as ServerStatus;
  }

  async counters(leader: number): Promise<Counters> {
    const { syncs, cpuMs, rssBytes, busy } = await this.status(leader);
    return { syncs, cpuMs, note: `busy ${(busy * 100).toFixed(0)} %, ${String(Math.round(rssBytes / 2 ** 20))} MiB` };
  }

  #outputs(): string {
    return this.#children.map((child) => child.output).join('\n');
  }
}

/** Gives the path of the server's program, in a folder where `raft-ts` is an installed package. */
function install(folder: string, packageFolder: string): string {
  const require = createRequire(import.meta.url);
  const library = join(folder, 'node_modules/raft-ts');
  mkdirSync(join(folder, 'node_modules/@grpc'), { recursive: true });
  mkdirSync(library);
  compile(packageFolder, join(library, 'dist'));
  cpSync(join(packageFolder, 'package.json'), join(library, 'package.json'));
  const grpc = dirname(require.resolve('@grpc/grpc-js/package.json'));
  symlinkSync(grpc, join(folder, 'node_modules/@grpc/grpc-js'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const compilerOptions: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.ESNext,
    rewriteRelativeImportExtensions: true,
  };
  for (const name of ['server', 'front', 'protocol', 'delayed-file-system']) {
    const source = readFileSync(join(here, `${name}.ts`), 'utf8');
    writeFileSync(join(folder, `${name}.js`), ts.transpileModule(source, { compilerOptions }).outputText);
  }
  return join(folder, 'server.js');
}

function compile(packageFolder: string, outDir: string): void {
  const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  const args = ['-p', packageFolder, '--outDir', outDir, '--composite', 'false', '--incremental', 'false'];
  try {
    execFileSync(process.execPath, [compiler, ...args, '--declaration', 'false', '--sourceMap', 'false'], {
      encoding: 'utf8',
    });
  } catch (error) {
    // The compiler writes its output even where types do not fit; without output there is nothing to measure.
    if (!existsSync(join(outDir, 'index.js'))) throw error;
    console.error(
      `raft-ts does not compile cleanly:\n${error instanceof Error && 'stdout' in error ? String(error.stdout) : ''}`,
    );
  }
}
