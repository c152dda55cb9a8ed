/** Requests and questions that go on while something changes, from this namespace or from inside a container's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('./load.mjs', import.meta.url));

/** `name`: looked up for every request. `expected`: the sorted addresses that every answer must have. */
type Lane =
  | { readonly kind: 'http'; readonly host: string; readonly port: number }
  | { readonly kind: 'http'; readonly name: string; readonly port: number }
  | { readonly kind: 'dns'; readonly name: string; readonly expected: readonly string[] };

/** A request that failed, or took longer than 900 ms. Times in ms, `at` since the epoch. */
export interface Odd {
  readonly phase: string;
  readonly at: number;
  readonly ms: number;
  readonly error?: string;
}

export interface Report {
  readonly counts: Readonly<Record<string, number>>;
  readonly odd: readonly Odd[];
}

export class Load {
  readonly #child: ChildProcess;
  readonly #report: Promise<Report>;
  /** The first answer came, or the process ended without one: a phase that begins now has requests in it. */
  readonly begun: Promise<void>;

  /** `place` is what `nsenter` gets; absent for this process's own namespace. Each lane asks one thing at a time. */
  constructor(place: string | undefined, lanes: readonly Lane[]) {
    const node = [process.execPath, script];
    const [program = '', ...args] = place === undefined ? node : ['nsenter', `--net=${place}`, ...node];
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child = child;
    let output = '';
    this.begun = new Promise((resolve) => {
      child.stdout.once('data', () => resolve());
      child.once('close', () => resolve());
    });
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    this.#report = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code) =>
        code === 0 ? resolve(JSON.parse(output.replace(/^\+\n/, ''))) : reject(new Error(`load: ${code}`)),
      );
    });
    this.#report.catch(() => {});
    child.stdin.on('error', () => {});
    child.stdin.write(`${JSON.stringify(lanes)}\n`);
  }

  /** Requests that begin from now on count as of this one. */
  phase(name: string): void {
    this.#child.stdin?.write(`${name}\n`);
  }

  /** Ends after the requests under way. */
  stop(): Promise<Report> {
    this.#child.stdin?.end();
    return this.#report;
  }
}

/** How many went wrong, and the first ones. */
export function failuresOf({ odd }: Report): readonly string[] {
  return odd.flatMap(({ phase, error, ms }) => (error === undefined ? [] : [`${phase}: ${error} after ${ms} ms`]));
}

export function stopAll(
  loads: Readonly<Record<string, Load>>,
): Promise<readonly { readonly where: string; readonly report: Report }[]> {
  return Promise.all(Object.entries(loads).map(async ([where, load]) => ({ where, report: await load.stop() })));
}
