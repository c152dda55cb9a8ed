import { spawn } from 'node:child_process';
import { ClusterError } from '../../lib/errors.ts';

const outputBytesMax = 64 * 1024;

/** Runs a program with `input` on its standard input. Errors: `internal`, with what the program said; `failed_precondition` when it is missing. */
export function run(program: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => {
      if (output.length < outputBytesMax * 16) output += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (errors.length < outputBytesMax) errors += chunk.toString();
    });
    child.on('error', (cause) => {
      const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
      const message = missing
        ? `${program} is not installed: apt-get install iproute2 nftables`
        : `${program}: ${cause.message}`;
      reject(new ClusterError(missing ? 'failed_precondition' : 'internal', message, { cause }));
    });
    child.stdin.on('error', () => {}); // the program ended before it read everything; its exit code tells
    child.on('close', (code) => {
      if (code === 0) resolve(output);
      else
        reject(new ClusterError('internal', `${program} ${args.join(' ')}: ${errors.trim() || `exit code ${code}`}`));
    });
    child.stdin.end(input);
  });
}
