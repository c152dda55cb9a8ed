import { spawn } from 'node:child_process';
import { ClusterError } from '../../lib/errors.ts';

const errorBytesMax = 64 * 1024;
/** Listings of a network with tens of thousands of endpoints; half a listing would be worse than none. */
const outputBytesMax = 64 * 1024 * 1024;
/** `ip` and `nft` take milliseconds; a kernel lock that somebody holds must not hold a task for ever. */
const limitMs = 30_000;

/**
 * Runs a program with `input` on its standard input. Errors: `internal`, with what the program said; `failed_precondition` when it is
 * missing; `deadline` when it was killed because it did not end.
 */
export function run(program: string, args: readonly string[], input = '', timeoutMs = limitMs): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    const output: Buffer[] = [];
    let outputBytes = 0;
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => {
      outputBytes += chunk.length;
      if (outputBytes <= outputBytesMax) output.push(chunk);
      else child.kill('SIGKILL');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (errors.length < errorBytesMax) errors += chunk.toString();
    });
    child.on('error', (cause) => {
      const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
      const message = missing
        ? `${program} is not installed: apt-get install iproute2 nftables conntrack`
        : `${program}: ${cause.message}`;
      reject(new ClusterError(missing ? 'failed_precondition' : 'internal', message, { cause }));
    });
    child.stdin.on('error', () => {}); // the program ended before it read everything; its exit code tells
    child.on('close', (code, signal) => {
      if (code === 0) resolve(Buffer.concat(output).toString());
      else if (outputBytes > outputBytesMax)
        reject(
          new ClusterError('exhausted', `${program} ${args.join(' ')}: more than ${outputBytesMax} bytes of output`),
        );
      else if (signal === 'SIGKILL')
        reject(
          new ClusterError('deadline', `${program} ${args.join(' ')}: killed, it did not end in ${timeoutMs / 1000} s`),
        );
      else
        reject(new ClusterError('internal', `${program} ${args.join(' ')}: ${errors.trim() || `exit code ${code}`}`));
    });
    child.stdin.end(input);
  });
}
