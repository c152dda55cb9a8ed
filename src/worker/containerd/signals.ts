import { constants } from 'node:os';
import { ClusterError } from '../../lib/errors.ts';

const realtimeMin = 34;
const realtimeMax = 64;

/** A stop signal's number: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`. */
export function signalNumber(text: string): number {
  if (text === '') return constants.signals.SIGTERM;
  const number = /^\d+$/.test(text) ? Number(text) : named(text.toUpperCase());
  if (number === undefined || number < 1 || number > realtimeMax) {
    throw new ClusterError('invalid', `Invalid signal: ${text}`);
  }
  return number;
}

function named(text: string): number | undefined {
  const name = text.startsWith('SIG') ? text : `SIG${text}`;
  const realtime = /^SIGRT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name);
  if (realtime !== null) {
    const base = realtime[1] === 'MIN' ? realtimeMin : realtimeMax;
    return base + Number(`${realtime[2] ?? ''}${realtime[3] ?? '0'}`);
  }
  return (constants.signals as Readonly<Record<string, number>>)[name];
}
