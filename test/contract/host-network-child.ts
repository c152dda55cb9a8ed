/** One host of host-network.test.ts: born in the host's namespace, it drives the plane as it is told, one JSON line at a time. */
import { createInterface } from 'node:readline';
import { messageOf } from '../../src/lib/errors.ts';
import { silentLog } from '../../src/lib/log.ts';
import { realClock } from '../../src/lib/real.ts';
import { createHostPlane } from '../../src/worker/network/host/index.ts';
import { createKernel } from '../../src/worker/network/host/kernel.ts';
import type { Desired, SandboxRecord } from '../../src/worker/network/planes.ts';

interface Command {
  readonly verb: 'sync' | 'wire' | 'unwire' | 'close' | 'destroy';
  readonly taskId?: string;
  readonly full?: boolean;
  readonly desired: {
    readonly sandboxes: readonly SandboxRecord[];
    readonly state: Record<'peers' | 'networks' | 'endpoints' | 'services', readonly Record<string, string>[]> & {
      readonly self?: Desired['state']['self'];
    };
  };
}

const kernel = createKernel();
let again = 0;
const plane = createHostPlane({ clock: realClock, log: silentLog, kernel, again: () => again++ });

const byKey = (list: readonly Record<string, string>[], key: string) => new Map(list.map((item) => [item[key], item]));

function desiredOf({ sandboxes, state }: Command['desired']): Desired {
  const maps = {
    peers: byKey(state.peers, 'nodeId'),
    networks: byKey(state.networks, 'id'),
    endpoints: byKey(state.endpoints, 'taskId'),
    services: byKey(state.services, 'id'),
  };
  return {
    sandboxes: new Map(sandboxes.map((sandbox) => [sandbox.taskId, sandbox])),
    state: {
      version: 1,
      ...(state.self === undefined ? {} : { self: state.self }),
      ...maps,
    } as unknown as Desired['state'],
  };
}

async function obey({ verb, taskId = '', full = true, desired: told }: Command): Promise<unknown> {
  if (verb === 'close') return plane.close();
  if (verb === 'destroy') return plane.destroy();
  const desired = desiredOf(told);
  if (verb === 'sync') return plane.sync(desired, { full });
  const sandbox = desired.sandboxes.get(taskId);
  if (sandbox === undefined) throw new Error(`no sandbox ${taskId}`);
  if (verb === 'unwire') return plane.unwire(sandbox, desired);
  for (const error of (await plane.wire([sandbox], desired)).values()) throw error;
  return undefined;
}

for await (const line of createInterface({ input: process.stdin })) {
  const before = kernel.changes;
  const began = performance.now();
  const answer = await obey(JSON.parse(line) as Command).then(
    (value) => ({ value }),
    (error: unknown) => ({ error: messageOf(error) }),
  );
  const tookMs = performance.now() - began;
  process.stdout.write(`${JSON.stringify({ ...answer, changes: kernel.changes - before, again, tookMs })}\n`);
}
process.exit(0);
