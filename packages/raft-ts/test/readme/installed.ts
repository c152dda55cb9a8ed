/** The package as npm would deliver it, unpacked into the node_modules of an empty project. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
export const packageFolder = fileURLToPath(new URL('../..', import.meta.url));
export const repository = fileURLToPath(new URL('../../../..', import.meta.url));
const compiler = require.resolve('typescript/bin/tsc');

export interface Project {
  readonly folder: string;
  /** The tarball's content, before it was unpacked. */
  readonly packed: readonly string[];
  /** Makes a package of this repository available in the project. */
  link(name: string): void;
  write(name: string, text: string): void;
  /** Runs node in the project; gives what it printed. */
  node(...args: readonly string[]): string;
  /** Type-checks the project with the options given. */
  check(options: object, files: readonly string[]): void;
  remove(): void;
}

export function install(): Project {
  const root = mkdtempSync(join(tmpdir(), 'raft-ts-package-'));
  const staged = join(root, 'staged');
  const folder = join(root, 'project');
  for (const name of ['package.json', 'README.md', 'LICENSE', 'docs', 'src']) {
    cpSync(join(packageFolder, name), join(staged, name), { recursive: true });
  }
  const out = ['--outDir', join(staged, 'dist'), '--composite', 'false', '--incremental', 'false'];
  run(process.execPath, [compiler, '-p', packageFolder, ...out], repository);
  const report = run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', root], staged);
  const [tarball] = JSON.parse(report) as [{ filename: string; files: { path: string }[] }];
  const library = join(folder, 'node_modules/raft-ts');
  mkdirSync(library, { recursive: true });
  run('tar', ['-xzf', join(root, tarball.filename), '-C', library, '--strip-components=1'], root);
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  return {
    folder,
    packed: tarball.files.map(({ path }) => path),
    link(name) {
      const target = join(folder, 'node_modules', name);
      mkdirSync(dirname(target), { recursive: true });
      symlinkSync(join(repository, 'node_modules', name), target);
    },
    write: (name, text) => writeFileSync(join(folder, name), text),
    node: (...args) => run(process.execPath, args, folder),
    check(options, files) {
      const compilerOptions = { ...options, strict: true, noEmit: true, target: 'es2023' };
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
      run(process.execPath, [compiler, '-p', '.'], folder);
    },
    remove: () => rmSync(root, { recursive: true }),
  };
}

function run(command: string, args: readonly string[], cwd: string): string {
  // Whatever switches the tests themselves run under, a user of the package has none of them.
  const { NODE_OPTIONS: _, ...env } = process.env;
  try {
    return execFileSync(command, args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    if (!(error instanceof Error && 'stdout' in error && 'stderr' in error)) throw error;
    throw new Error(`${command} ${args.join(' ')}\n${String(error.stdout)}\n${String(error.stderr)}`, { cause: error });
  }
}
