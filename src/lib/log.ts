/** Structured log lines. `debug` lines of a part are on when TSCLUSTER_TRACE names it. Never log secrets, keys or tokens. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A log whose lines carry `part` as their source, e.g. `dispatcher`. */
  part(part: string): Log;
}

export type LogFields = Readonly<Record<string, unknown>>;

const nothing = () => {};

/** A log that keeps nothing, for tests. */
export const silentLog: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, part: () => silentLog };
