import type { TraceEvent } from '../core/types.ts';

/** One line of NDJSON; bytes become their length, everything else in an event is plain already. */
export function traceLine(event: TraceEvent): string {
  return JSON.stringify(event, (_key, value: unknown) =>
    value instanceof Uint8Array ? { bytes: value.length } : value,
  );
}
