/**
 * Checks what arrives from other nodes before anything touches it: a worker's message may be hostile and must at worst
 * end its own stream. Only shapes are checked here; meaning is the receiver's business.
 */
import { ClusterError } from '../lib/errors.ts';
import { type AgentMessage, type ManagerMessage, networkProblemsMax } from '../model/assignment.ts';
import type { LogsAsk, LogsMessage, RaftJoinRequest } from './port.ts';

type Fields = Readonly<Record<string, unknown>>;
type Check = (value: unknown) => boolean;

const shortTextMax = 1024;
/** A node's description is part of an object that every manager keeps, and goes through the log whenever it changes. */
const descriptionCharsMax = 64 * 1024;

const text: Check = (value) => typeof value === 'string';
/** For what has a natural length: names, ids, versions. */
const short: Check = (value) => typeof value === 'string' && value.length <= shortTextMax;
/** What a Date can hold: anything else would throw wherever it is shown. */
const timestamp: Check = (value) => typeof value === 'number' && Math.abs(value) <= 8.64e15;
const number: Check = (value) => typeof value === 'number' && Number.isFinite(value);
const count: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 1;
const flag: Check = (value) => typeof value === 'boolean';
const object: Check = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

function optional(check: Check): Check {
  return (value) => value === undefined || check(value);
}

function list(check: Check, countMax: number): Check {
  return (value) => Array.isArray(value) && value.length <= countMax && value.every(check);
}

function shape(fields: Readonly<Record<string, Check>>): Check {
  return (value) => object(value) && Object.entries(fields).every(([name, check]) => check((value as Fields)[name]));
}

function dictionary(check: Check): Check {
  return (value) => object(value) && Object.values(value as Fields).every(check);
}

/** As JSON, at most so many characters. */
function bounded(check: Check, charsMax: number): Check {
  return (value) => check(value) && JSON.stringify(value).length <= charsMax;
}

const port = shape({
  TargetPort: number,
  PublishedPort: optional(number),
  Protocol: optional(short),
  PublishMode: optional(short),
  HostIP: optional(short),
});
const status = shape({
  state: number,
  timestamp,
  message: text,
  err: text,
  container: optional(shape({ containerId: short, pid: number, exitCode: number, gateway: optional(short) })),
  ports: optional(list(port, 1000)),
});
const genericResource = shape({
  NamedResourceSpec: optional(shape({ Kind: short, Value: short })),
  DiscreteResourceSpec: optional(shape({ Kind: short, Value: number })),
});
const description = bounded(
  shape({
    hostname: short,
    platform: shape({ architecture: short, os: short }),
    resources: shape({
      NanoCPUs: optional(number),
      MemoryBytes: optional(number),
      GenericResources: optional(list(genericResource, 1000)),
    }),
    engine: shape({
      version: short,
      labels: dictionary(text),
      plugins: list(shape({ type: short, name: short }), 1000),
    }),
  }),
  descriptionCharsMax,
);
const line = shape({ taskId: text, time: text, text, stream: (value) => value === 'stdout' || value === 'stderr' });

const networkProblem = shape({ serviceId: optional(short), networkId: optional(short), message: short });

const agentMessages: Readonly<Record<AgentMessage['kind'], Check>> = {
  hello: shape({ description, addr: short }),
  describe: shape({ description }),
  beat: object,
  leaving: object,
  status: shape({ reports: list(shape({ taskId: short, status }), 1000) }),
  networkAck: shape({ version: count, problems: list(networkProblem, networkProblemsMax) }),
  log: shape({ subscription: text, lines: list(line, 100_000) }),
  logEnd: shape({ subscription: text, error: text }),
};

const query = shape({ stdout: flag, stderr: flag, follow: flag, tail: number, since: number, until: number });
const logsRequest = shape({ selector: dictionary(text), query, window: count });
const logsTaken = shape({ kind: (value) => value === 'taken', messages: count });

export function decodeAgentMessage(document: object): AgentMessage {
  const kind = (document as Fields)['kind'];
  const check =
    typeof kind === 'string' && Object.hasOwn(agentMessages, kind)
      ? agentMessages[kind as AgentMessage['kind']]
      : undefined;
  if (check === undefined || !check(document)) throw malformed(`agent message ${JSON.stringify(kind)?.slice(0, 40)}`);
  return document as AgentMessage;
}

/** Managers hold the root key: what they send is trusted once it has a kind. */
export function decodeManagerMessage(document: object): ManagerMessage {
  if (!text((document as Fields)['kind'])) throw malformed('manager message');
  return document as ManagerMessage;
}

export function decodeLogsAsk(document: object): LogsAsk {
  if (!('kind' in document ? logsTaken : logsRequest)(document)) throw malformed('log request');
  return document as LogsAsk;
}

export function decodeLogsMessage(document: object): LogsMessage {
  if (!text((document as Fields)['kind'])) throw malformed('log message');
  return document as LogsMessage;
}

export function decodeJoin(document: object): RaftJoinRequest {
  if (!shape({ addr: short, raftId: optional(number) })(document)) throw malformed('request to join');
  return document as RaftJoinRequest;
}

/** A document whose named fields are strings. */
export function requireTexts<K extends string>(document: object, names: readonly K[]): Readonly<Record<K, string>> {
  for (const name of names) if (!text((document as Fields)[name])) throw malformed(`field ${name}`);
  return document as Readonly<Record<K, string>>;
}

function malformed(what: string): ClusterError {
  return new ClusterError('invalid', `malformed ${what}`);
}
