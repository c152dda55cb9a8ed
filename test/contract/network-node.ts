/**
 * One node's network driver, in the network namespace it was started in, driven by lines of JSON on standard input:
 * `{"id":1,"call":"attach","argument":…}` → `{"id":1,"value":…}` or `{"id":1,"error":…}`. Used by overlay.test.ts.
 */
import { createInterface } from 'node:readline';
import { messageOf } from '../../src/lib/errors.ts';
import { silentLog } from '../../src/lib/log.ts';
import { realClock, realRandom, terminalLog } from '../../src/lib/real.ts';
import { emptyNetworkState } from '../../src/model/network.ts';
import { composeDriver } from '../../src/worker/network/driver.ts';
import { createHostPlane } from '../../src/worker/network/host/index.ts';
import { createKernel, type Kernel } from '../../src/worker/network/host/kernel.ts';
import { createOverlayPlane } from '../../src/worker/network/overlay/index.ts';
import type { Plane } from '../../src/worker/network/planes.ts';
import type { SandboxRequest } from '../../src/worker/network/port.ts';
import { decodeState } from '../../src/worker/network/records.ts';

const [stateDir = '', prefix = ''] = process.argv.slice(2);
const log = process.env['TRACE'] === undefined ? silentLog : terminalLog(new Set(['all']));
const kernels = { host: createKernel(), overlay: createKernel() };
/** As a kernel that takes no rules: out of memory, a module that is gone. */
let refusesRules = false;
const moody: Kernel = {
  get changes() {
    return kernels.overlay.changes;
  },
  read: (program, args) => kernels.overlay.read(program, args),
  change: async (program, args, input) => {
    if (refusesRules && args.includes('nft')) throw new Error('nft: no');
    return kernels.overlay.change(program, args, input);
  },
  setting: (path) => kernels.overlay.setting(path),
  set: (path, value) => kernels.overlay.set(path, value),
};
const noNames: Plane = {
  wire: async () => new Map(),
  unwire: async () => {},
  sync: async () => [],
  close: async () => {},
  destroy: async () => {},
};
let again = () => {};
const driver = composeDriver({ stateDir, prefix, clock: realClock, random: realRandom, log }, (fullSync) => {
  again = fullSync;
  return {
    host: createHostPlane({ clock: realClock, log, kernel: kernels.host }),
    overlay: createOverlayPlane({ prefix, clock: realClock, log, kernel: moody }),
    names: noNames,
  };
});
let state = emptyNetworkState;

const calls: Record<string, (argument: unknown) => Promise<unknown>> = {
  start: () => driver.start(),
  attach: (request) => driver.attach(request as SandboxRequest, new AbortController().signal),
  detach: (taskId) => driver.detach(taskId as string),
  apply: (text) => {
    state = decodeState(text as string);
    return driver.apply(state);
  },
  list: () => driver.list(),
  /** A full sync; how often it ran a program to change something, and what it could not do. */
  sync: async () => {
    const before = { host: kernels.host.changes, overlay: kernels.overlay.changes };
    again();
    const problems = await driver.apply(state);
    const { host, overlay } = kernels;
    return { host: host.changes - before.host, overlay: overlay.changes - before.overlay, problems };
  },
  refuseRules: async (refuses) => {
    refusesRules = refuses as boolean;
  },
  /** The version that is in place. */
  inPlace: async () => driver.inPlace()?.version ?? -1,
  destroy: () => driver.destroy(),
  close: () => driver.close(),
};

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, call, argument } = JSON.parse(line) as { id: number; call: string; argument: unknown };
  const answer = (body: object) => process.stdout.write(`${JSON.stringify({ id, ...body })}\n`);
  Promise.resolve(calls[call]?.(argument)).then(
    (value) => answer({ value }),
    (error: unknown) => answer({ error: messageOf(error) }),
  );
});
process.stdin.on('end', () => process.exit(0));
