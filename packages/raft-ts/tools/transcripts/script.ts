/** The data-driven format: `directive arg key=value key=(a,b)`, input lines, `----`, the expected output up to a blank line. */
export interface Arg {
  readonly key: string;
  readonly values: readonly string[];
}

export interface Directive {
  readonly line: number;
  readonly name: string;
  readonly args: readonly Arg[];
  /** Lines between the directive and `----`. */
  readonly input: readonly string[];
  readonly expected: readonly string[];
  /** Line of the first expected output. */
  readonly expectedLine: number;
}

export class BadScript extends Error {
  override readonly name = 'BadScript';

  constructor(line: number, what: string) {
    super(`line ${String(line)}: ${what}`);
  }
}

const separator = '----';

export function parseScript(text: string): Directive[] {
  return new Parser(text.split('\n').map((line) => line.replace(/\r$/, ''))).all();
}

class Parser {
  readonly #lines: readonly string[];
  #at = 0;

  constructor(lines: readonly string[]) {
    this.#lines = lines;
  }

  all(): Directive[] {
    const directives: Directive[] = [];
    while (this.#at < this.#lines.length) {
      const line = this.#take().trim();
      if (line !== '' && !line.startsWith('#')) directives.push(this.#directive(line));
    }
    return directives;
  }

  #take(): string {
    const line = this.#lines[this.#at] ?? '';
    this.#at += 1;
    return line;
  }

  #directive(first: string): Directive {
    const line = this.#at;
    let head = first;
    while (head.endsWith('\\')) head = `${head.slice(0, -1).trimEnd()} ${this.#take().trim()}`;
    const input: string[] = [];
    for (;;) {
      if (this.#at >= this.#lines.length) throw new BadScript(line, `no ${separator} after the directive`);
      const next = this.#take();
      if (next === separator) break;
      input.push(next);
    }
    const doubled = this.#lines[this.#at] === separator;
    if (doubled) this.#at += 1;
    const expectedLine = this.#at + 1;
    const expected = doubled ? this.#toDoubleSeparator(line) : this.#toBlank();
    return { line, ...parseLine(head, line), input, expected, expectedLine };
  }

  #toBlank(): string[] {
    const lines: string[] = [];
    while (this.#at < this.#lines.length) {
      const line = this.#take();
      if (line.trim() === '') break;
      lines.push(line);
    }
    return lines;
  }

  /** Output that holds blank lines is closed by two separators. */
  #toDoubleSeparator(line: number): string[] {
    const lines: string[] = [];
    while (this.#at < this.#lines.length) {
      const next = this.#take();
      if (next === separator && this.#lines[this.#at] === separator) {
        this.#at += 1;
        return lines;
      }
      lines.push(next);
    }
    throw new BadScript(line, `output is not closed by two ${separator}`);
  }
}

export function parseLine(text: string, line: number): Pick<Directive, 'name' | 'args'> {
  const words = text.match(/[^\s=()]+(?:=(?:\([^)]*\)|[^\s()]+))?|\S+/g) ?? [];
  const [name = '', ...rest] = words;
  return { name, args: rest.map((word) => parseArg(word, line)) };
}

function parseArg(word: string, line: number): Arg {
  const equals = word.indexOf('=');
  if (equals < 0) return { key: word, values: [] };
  if (equals === 0) throw new BadScript(line, `argument without a name: ${word}`);
  const value = word.slice(equals + 1);
  const key = word.slice(0, equals);
  if (!value.startsWith('(')) return { key, values: [value] };
  if (!value.endsWith(')')) throw new BadScript(line, `unclosed parenthesis: ${word}`);
  const inner = value.slice(1, -1).trim();
  return { key, values: inner === '' ? [] : inner.split(',').map((part) => part.trim()) };
}
