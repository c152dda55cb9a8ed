import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { describe, expect, onTestFinished, test } from 'vitest';
import { packageFolder, repository } from './installed.ts';

describe('what imports what', () => {
  const source = join(packageFolder, 'src');

  test('the core and the codec import nothing but themselves', () => {
    for (const entry of ['core/index.ts', 'codec/index.ts']) {
      const { files, packages } = reached(join(source, entry));
      expect(packages, entry).toEqual([]);
      expect(files.map((file) => relative(source, file).split('/')[0])).toEqual(
        expect.not.arrayContaining(['driver', 'wal', 'transport', 'sim']),
      );
      expect(files.length).toBeGreaterThan(2);
    }
  });

  test('elsewhere only Node is imported, and gRPC by its own transport alone', () => {
    const foreign = sources(source).flatMap((file) => {
      const place = relative(source, file);
      const names = importsOf(file).filter((name) => !name.startsWith('.') && !name.startsWith('node:'));
      return names
        .filter((name) => !(place.startsWith('transport/grpc/') && name === '@grpc/grpc-js'))
        .map((name) => `${place}: ${name}`);
    });
    expect(foreign).toEqual([]);
  });

  test('the rule that keeps Node out of the core catches a breach', () => {
    const folder = mkdtempSync(join(tmpdir(), 'raft-ts-rule-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const core = join(folder, 'packages/raft-ts/src/core');
    mkdirSync(core, { recursive: true });
    copyFileSync(join(repository, 'tsconfig.base.json'), join(folder, 'tsconfig.base.json'));
    writeFileSync(
      join(core, 'index.ts'),
      "import { readFileSync } from 'node:fs';\nexport const read = readFileSync;\n",
    );
    const depcruise = join(repository, 'node_modules/.bin/depcruise');
    const args = ['--config', join(repository, '.dependency-cruiser.cjs'), 'packages/raft-ts/src'];
    const { status, stdout } = spawnSync(depcruise, args, { cwd: folder, encoding: 'utf8' });
    expect(stdout).toContain('pure-has-no-io');
    expect(status).not.toBe(0);
  });
});

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .map((name) => join(folder, name));
}

function importsOf(file: string): string[] {
  return ts.preProcessFile(readFileSync(file, 'utf8')).importedFiles.map(({ fileName }) => fileName);
}

function reached(entry: string): { files: string[]; packages: string[] } {
  const files = new Set([entry]);
  const packages = new Set<string>();
  for (const file of files) {
    for (const name of importsOf(file)) {
      if (name.startsWith('.')) files.add(resolve(dirname(file), name));
      else packages.add(name);
    }
  }
  return { files: [...files], packages: [...packages] };
}
