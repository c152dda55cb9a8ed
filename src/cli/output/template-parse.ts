/** Parser for the part of Go's text/template that `--format` users write. Unknown syntax is an error, never printed as is. */
import { CliError } from '../failure.ts';

export type Expr =
  | { readonly kind: 'literal'; readonly value: unknown }
  | { readonly kind: 'field'; readonly base: Expr; readonly name: string }
  | { readonly kind: 'dot' }
  | { readonly kind: 'variable'; readonly name: string }
  | { readonly kind: 'call'; readonly name: string; readonly args: readonly Expr[] }
  | { readonly kind: 'method'; readonly target: Expr; readonly args: readonly Expr[] }
  /** `left | right`: the value of `left` becomes the last argument of `right`. */
  | { readonly kind: 'pipe'; readonly left: Expr; readonly right: Expr };

export type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'print'; readonly expr: Expr }
  | { readonly kind: 'assign'; readonly name: string; readonly expr: Expr }
  | { readonly kind: 'if'; readonly expr: Expr; readonly then: readonly Node[]; readonly otherwise: readonly Node[] }
  | { readonly kind: 'with'; readonly expr: Expr; readonly then: readonly Node[]; readonly otherwise: readonly Node[] }
  | {
      readonly kind: 'range';
      readonly key: string;
      readonly value: string;
      readonly expr: Expr;
      readonly then: readonly Node[];
      readonly otherwise: readonly Node[];
    };

type Piece = { readonly text: string } | { readonly action: string };

/** Nesting beyond this is refused, so that no input can exhaust the stack. */
const depthMax = 100;

export function parseError(detail: string): CliError {
  return new CliError(`template parsing error: ${detail}`, 64);
}

export function parseTemplate(source: string): readonly Node[] {
  const pieces = splitPieces(source);
  const cursor = { at: 0 };
  const nodes = parseNodes(pieces, cursor, 0);
  if (cursor.at < pieces.length) throw parseError('unexpected {{end}} or {{else}}');
  return nodes;
}

function splitPieces(source: string): Piece[] {
  const pieces: Piece[] = [];
  let rest = source;
  let trimNext = false;
  while (rest !== '') {
    const open = rest.indexOf('{{');
    let text = open < 0 ? rest : rest.slice(0, open);
    if (trimNext) text = text.trimStart();
    trimNext = false;
    if (open < 0) {
      pieces.push({ text });
      break;
    }
    const close = actionEnd(rest, open + 2);
    let action = rest.slice(open + 2, close);
    if (/^-\s/.test(action)) {
      text = text.trimEnd();
      action = action.slice(1);
    }
    if (/\s-$/.test(action)) {
      trimNext = true;
      action = action.slice(0, -1);
    }
    if (text !== '') pieces.push({ text });
    if (!action.trim().startsWith('/*')) pieces.push({ action: action.trim() });
    rest = rest.slice(close + 2);
  }
  return pieces;
}

function actionEnd(source: string, from: number): number {
  for (let at = from; at < source.length; at++) {
    const char = source[at];
    if (char === '"' || char === '`') {
      at = stringEnd(source, at);
    } else if (source.startsWith('}}', at)) return at;
  }
  throw parseError('unclosed action');
}

/** Index of the quote that ends the string starting at `from`. */
function stringEnd(source: string, from: number): number {
  const quote = source[from];
  for (let at = from + 1; at < source.length; at++) {
    if (source[at] === '\\' && quote === '"') at++;
    else if (source[at] === quote) return at;
  }
  throw parseError('unterminated quoted string');
}

interface Cursor {
  at: number;
}

function parseNodes(pieces: readonly Piece[], cursor: Cursor, depth: number): Node[] {
  if (depth > depthMax) throw parseError('nested too deeply');
  const nodes: Node[] = [];
  for (;;) {
    const piece = pieces[cursor.at];
    if (piece === undefined) return nodes;
    if ('text' in piece) {
      nodes.push({ kind: 'text', text: piece.text });
      cursor.at++;
      continue;
    }
    const keyword = /^(if|range|with|else|end)\b/.exec(piece.action)?.[1];
    if (keyword === 'else' || keyword === 'end') return nodes;
    cursor.at++;
    if (keyword === undefined) nodes.push(parseAction(piece.action));
    else nodes.push(parseBlock(keyword, piece.action.slice(keyword.length).trim(), { pieces, cursor, depth }));
  }
}

function parseAction(action: string): Node {
  const assign = /^\$(\w+)\s*:?=\s*(.*)$/s.exec(action);
  if (assign !== null) return { kind: 'assign', name: assign[1] ?? '', expr: parseExpr(assign[2] ?? '') };
  return { kind: 'print', expr: parseExpr(action) };
}

interface BlockState {
  readonly pieces: readonly Piece[];
  readonly cursor: Cursor;
  readonly depth: number;
}

function parseBlock(keyword: string, head: string, state: BlockState): Node {
  const then = parseNodes(state.pieces, state.cursor, state.depth + 1);
  const otherwise = parseElse(state);
  if (keyword === 'range') {
    const names = /^(?:\$(\w+)\s*,\s*)?\$(\w+)\s*:=\s*(.*)$/s.exec(head);
    const expr = parseExpr(names?.[3] ?? head);
    return { kind: 'range', key: names?.[1] ?? '', value: names?.[2] ?? '', expr, then, otherwise };
  }
  return { kind: keyword === 'with' ? 'with' : 'if', expr: parseExpr(head), then, otherwise };
}

function parseElse(state: BlockState): readonly Node[] {
  const piece = state.pieces[state.cursor.at];
  if (piece === undefined || 'text' in piece) throw parseError('unexpected EOF: {{end}} is missing');
  state.cursor.at++;
  if (piece.action === 'end') return [];
  const chained = /^else\s+(if|with)\b(.*)$/s.exec(piece.action);
  if (chained !== null) return [parseBlock(chained[1] ?? 'if', (chained[2] ?? '').trim(), state)];
  if (piece.action !== 'else') throw parseError(`unexpected <${piece.action}>`);
  const nodes = parseNodes(state.pieces, state.cursor, state.depth + 1);
  const end = state.pieces[state.cursor.at++];
  if (end === undefined || 'text' in end || end.action !== 'end') throw parseError('expected {{end}}');
  return nodes;
}

const tokenPattern =
  /\s*(?:("(?:[^"\\]|\\.)*"|`[^`]*`)|(-?\d+(?:\.\d+)?)|(\$\w*)|((?:\.[A-Za-z_]\w*)+)|(\.)|([A-Za-z_]\w*)|([()|]))/y;

interface Token {
  readonly kind: 'string' | 'number' | 'variable' | 'fields' | 'dot' | 'name' | 'punct';
  readonly text: string;
  /** No blank before it: `$x.Name` is one operand. */
  readonly glued: boolean;
}

const tokenKinds = ['string', 'number', 'variable', 'fields', 'dot', 'name', 'punct'] as const;

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  tokenPattern.lastIndex = 0;
  const end = text.trimEnd().length;
  for (let at = 0; at < end; at = tokenPattern.lastIndex) {
    tokenPattern.lastIndex = at;
    const match = tokenPattern.exec(text);
    const group = match === null ? -1 : match.slice(1).findIndex((value) => value !== undefined);
    const kind = tokenKinds[group];
    if (match === null || kind === undefined) throw parseError(`unexpected "${text.slice(at).trim()}" in {{${text}}}`);
    tokens.push({ kind, text: match[group + 1] ?? '', glued: !/^\s/.test(match[0]) && at > 0 });
  }
  return tokens;
}

function parseExpr(text: string): Expr {
  const tokens = tokenize(text);
  const cursor = { at: 0 };
  const expr = parsePipe(tokens, cursor, 0);
  if (cursor.at < tokens.length) throw parseError(`unexpected "${tokens[cursor.at]?.text}" in {{${text}}}`);
  return expr;
}

function parsePipe(tokens: readonly Token[], cursor: Cursor, depth: number): Expr {
  if (depth > depthMax) throw parseError('nested too deeply');
  let left = parseCommand(tokens, cursor, depth);
  while (tokens[cursor.at]?.text === '|' && tokens[cursor.at]?.kind === 'punct') {
    cursor.at++;
    left = { kind: 'pipe', left, right: parseCommand(tokens, cursor, depth) };
  }
  return left;
}

function parseCommand(tokens: readonly Token[], cursor: Cursor, depth: number): Expr {
  const first = tokens[cursor.at];
  if (first === undefined) throw parseError('missing value for command');
  const isName = first.kind === 'name' && !['true', 'false', 'nil'].includes(first.text);
  if (isName) cursor.at++;
  const head = isName ? undefined : parseOperand(tokens, cursor, depth);
  const args: Expr[] = [];
  while (cursor.at < tokens.length && tokens[cursor.at]?.text !== '|' && tokens[cursor.at]?.text !== ')') {
    args.push(parseOperand(tokens, cursor, depth));
  }
  if (head === undefined) return { kind: 'call', name: first.text, args };
  return args.length === 0 ? head : { kind: 'method', target: head, args };
}

function parseOperand(tokens: readonly Token[], cursor: Cursor, depth: number): Expr {
  let expr = parsePrimary(tokens, cursor, depth);
  for (let next = tokens[cursor.at]; next?.kind === 'fields' && next.glued; next = tokens[cursor.at]) {
    expr = fieldChain(expr, next.text);
    cursor.at++;
  }
  return expr;
}

function parsePrimary(tokens: readonly Token[], cursor: Cursor, depth: number): Expr {
  const token = tokens[cursor.at++];
  switch (token?.kind) {
    case 'string':
      return { kind: 'literal', value: unquote(token.text) };
    case 'number':
      return { kind: 'literal', value: Number(token.text) };
    case 'variable':
      return { kind: 'variable', name: token.text.slice(1) };
    case 'fields':
      return fieldChain({ kind: 'dot' }, token.text);
    case 'dot':
      return { kind: 'dot' };
    case 'name':
      if (token.text === 'true' || token.text === 'false') return { kind: 'literal', value: token.text === 'true' };
      if (token.text === 'nil') return { kind: 'literal', value: undefined };
      return { kind: 'call', name: token.text, args: [] };
    case 'punct':
      if (token.text === '(') {
        const inner = parsePipe(tokens, cursor, depth + 1);
        if (tokens[cursor.at++]?.text !== ')') throw parseError('unclosed left paren');
        return inner;
      }
      throw parseError(`unexpected "${token.text}"`);
    default:
      throw parseError('missing value for command');
  }
}

function fieldChain(base: Expr, text: string): Expr {
  return text
    .split('.')
    .slice(1)
    .reduce<Expr>((expr, name) => ({ kind: 'field', base: expr, name }), base);
}

function unquote(text: string): string {
  if (text.startsWith('`')) return text.slice(1, -1);
  try {
    return String(JSON.parse(text));
  } catch {
    throw parseError(`invalid string ${text}`);
  }
}
