/**
 * The log broker: log lines of tasks, wherever they run, as one stream. It runs on the leader, where the agents' sessions are.
 * A node that cannot be asked makes the stream end with a warning that names it; what the others have still comes.
 * At most `logWindow` messages per node and request are in memory: an agent sends more only as they are read.
 */
import type { Clock } from '../../lib/clock.ts';
import { ClusterError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Random } from '../../lib/random.ts';
import type { LogLine, LogQuery } from '../../model/assignment.ts';
import type { LogMessage, NodeSessions } from '../dispatcher/index.ts';
import type { Store } from '../store/port.ts';
import { LogRequest, type LogSelector } from './request.ts';

export interface LogBrokerOptions {
  readonly store: Store;
  readonly dispatcher: NodeSessions;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface LogBroker {
  logs(selector: LogSelector, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine>;
}

/** Log requests at a time. */
const requestsMax = 1_000;

export function createLogBroker({ store, dispatcher, random }: LogBrokerOptions): LogBroker {
  const requests = new Set<LogRequest>();
  dispatcher.onLog((nodeId: string, message: LogMessage) => {
    for (const request of requests) if (request.receive(nodeId, message)) return;
  });
  dispatcher.onSessions((change) => {
    for (const request of [...requests]) request.sessionChanged(change);
  });
  return {
    async *logs(selector, query, signal) {
      if (requests.size >= requestsMax) throw new ClusterError('exhausted', 'too many log requests at a time');
      const request = new LogRequest({ store, dispatcher, random, selector, query });
      requests.add(request);
      try {
        yield* request.lines(signal);
      } finally {
        requests.delete(request);
        request.close();
      }
    },
  };
}
