/** Whatever can be imported says what it is. */
import { join, relative } from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { packageFolder } from './installed.ts';

const source = join(packageFolder, 'src');
const entries = ['index.ts', 'core/index.ts', 'wal/index.ts', 'transport/grpc/index.ts', 'sim/index.ts'];

test('every exported name, and every method of exported classes, has a docstring', { timeout: 180_000 }, () => {
  const program = ts.createProgram(
    entries.map((entry) => join(source, entry)),
    {
      module: ts.ModuleKind.NodeNext,
      target: ts.ScriptTarget.ES2023,
      allowImportingTsExtensions: true,
      noEmit: true,
      skipLibCheck: true,
      types: [],
    },
  );
  const checker = program.getTypeChecker();
  const missing = new Set<string>();
  let judged = 0;
  for (const entry of entries) {
    const file = program.getSourceFile(join(source, entry));
    const module = file && checker.getSymbolAtLocation(file);
    if (module === undefined) throw new Error(`no module ${entry}`);
    for (const name of checker.getExportsOfModule(module)) {
      for (const [symbol, label] of documented(checker, name)) {
        judged += 1;
        if (symbol.getDocumentationComment(checker).length === 0) missing.add(label);
      }
    }
  }
  expect(judged).toBeGreaterThan(200);
  expect([...missing].sort()).toEqual([]);
});

/** The symbol and, of a class, its public methods that implement no documented interface. */
function documented(checker: ts.TypeChecker, exported: ts.Symbol): [ts.Symbol, string][] {
  const isAlias = (exported.flags & ts.SymbolFlags.Alias) !== 0;
  const symbol = isAlias ? checker.getAliasedSymbol(exported) : exported;
  const [declaration] = symbol.declarations ?? [];
  if (declaration === undefined) return [];
  const place = relative(source, declaration.getSourceFile().fileName);
  const found: [ts.Symbol, string][] = [[symbol, `${place}: ${symbol.name}`]];
  if (!ts.isClassDeclaration(declaration)) return found;
  const implementing = declaration.heritageClauses?.some(({ token }) => token === ts.SyntaxKind.ImplementsKeyword);
  for (const member of implementing === true ? [] : declaration.members) {
    const isHidden = (ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private) !== 0;
    if (!ts.isMethodDeclaration(member) || ts.isPrivateIdentifier(member.name) || isHidden) continue;
    const method = checker.getSymbolAtLocation(member.name);
    if (method !== undefined) found.push([method, `${place}: ${symbol.name}.${method.name}`]);
  }
  return found;
}
