/**
 * What the bench measures: an orchestrator on three test hosts named n1, n2, n3, reached only through the Docker Engine
 * API of its sockets. Both sides give the same questions the same way, so no figure depends on who is asked.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { until } from '../test/e2e/hosts.ts';

/** Of the host that uses most, in MB (10^6 bytes). */
export interface Memory {
  readonly daemonMb: number;
  readonly containerdMb: number;
}

export interface Subject {
  readonly name: string;
  /** Engine API sockets, host 1 first. */
  readonly sockets: readonly string[];
  readonly image: string;
  memory(): Memory;
  /** Ends everything this side started and removes what it left. Twice does no harm. */
  down(): Promise<void>;
}

interface NodeObject {
  readonly Description: { readonly Hostname: string };
  readonly Status: { readonly State: string };
  readonly ManagerStatus?: { readonly Leader?: boolean; readonly Reachability: string };
}

export function get<T>(socketPath: string, path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const call = request(
      { socketPath, path: `/v1.41${path}`, headers: { host: 'bench' }, timeout: 5_000 },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (chunk: string) => (text += chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          if (answer.statusCode === 200) resolve(JSON.parse(text) as T);
          else reject(new Error(`GET ${path}: ${answer.statusCode} ${text.slice(0, 200)}`));
        });
      },
    );
    call.on('timeout', () => call.destroy(new Error(`GET ${path}: no answer in 5 s`)));
    call.on('error', reject);
    call.end();
  });
}

/** Index of the host whose manager leads, as the manager behind `socket` sees it. */
async function leaderSeenFrom(socket: string, count: number): Promise<number | undefined> {
  const nodes = await get<readonly NodeObject[]>(socket, '/nodes');
  const healthy = nodes.filter(
    (node) => node.Status.State === 'ready' && node.ManagerStatus?.Reachability === 'reachable',
  );
  if (nodes.length !== count || healthy.length !== count) return undefined;
  const leader = nodes.find((node) => node.ManagerStatus?.Leader === true);
  return leader === undefined ? undefined : Number(leader.Description.Hostname.slice(1));
}

/** Waits until every manager sees every node ready and the same leader, and no task is left; gives the leader's host index. */
export function settled(subject: Subject): Promise<number> {
  return until(`${subject.name}: all nodes ready, no task left`, 120_000, async () => {
    const seen = await Promise.all(subject.sockets.map((socket) => leaderSeenFrom(socket, subject.sockets.length)));
    const leader = seen[0];
    const socket = leader === undefined ? undefined : subject.sockets[leader - 1];
    if (leader === undefined || socket === undefined || seen.some((other) => other !== leader)) return undefined;
    return (await get<readonly unknown[]>(socket, '/tasks')).length === 0 ? leader : undefined;
  });
}

/** Pids of the processes whose command line (arguments joined by blanks) matches. */
export function processes(matches: (command: string) => boolean): readonly number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  return pids.filter((pid) => matches(procFile(pid, 'cmdline').replaceAll('\0', ' '))).map(Number);
}

export function residentMb(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(procFile(String(pid), 'status'))?.[1];
  if (kib === undefined) throw new Error(`process ${pid} has no resident memory: it has ended`);
  return (Number(kib) * 1024) / 1e6;
}

/** Empty for a process that has ended. */
export function procFile(pid: string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}
