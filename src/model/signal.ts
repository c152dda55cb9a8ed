import { ClusterError } from '../lib/errors.ts';

/** Linux's signals on the architectures that we run on, in the order of their numbers, which begin at 1. */
const names =
  'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS'.split(
    ' ',
  );
const aliases: Readonly<Record<string, string>> = { IOT: 'ABRT', CLD: 'CHLD', POLL: 'IO' };
const terminate = names.indexOf('TERM') + 1;
const realtimeMin = 34;
const realtimeMax = 64;

/** A stop signal's number: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`. Errors: `invalid`. */
export function signalNumber(text: string): number {
  if (text === '') return terminate;
  const number = /^\d+$/.test(text) ? Number(text) : named(text.toUpperCase().replace(/^SIG/, ''));
  if (number === undefined || number < 1 || number > realtimeMax) {
    throw new ClusterError('invalid', `Invalid signal: ${text}`);
  }
  return number;
}

function named(name: string): number | undefined {
  const realtime = /^RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name);
  if (realtime !== null) {
    const base = realtime[1] === 'MIN' ? realtimeMin : realtimeMax;
    return base + Number(`${realtime[2] ?? ''}${realtime[3] ?? '0'}`);
  }
  const at = names.indexOf(Object.hasOwn(aliases, name) ? (aliases[name] ?? name) : name);
  return at < 0 ? undefined : at + 1;
}
