/**
 * Who talks to whom between nodes, without saying how: gRPC implements these in this folder, the simulator in memory.
 * Every connection is mutually authenticated; the server learns the caller's identity from its certificate.
 */
import type { Duplex } from '../lib/stream.ts';
import type { AgentMessage, LogLine, LogQuery, ManagerMessage } from '../model/assignment.ts';
import type { ControlMethod, ControlRequest, ControlResponse } from '../model/control.ts';
import type { NodeRole } from '../model/spec.ts';

/** From the peer's certificate: CN, OU and O. */
export interface Identity {
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly clusterId: string;
}

export interface IssueRequest {
  readonly csrPem: string;
  /** First certificate: a join token. Renewal: empty, the caller is known by its certificate. */
  readonly token: string;
  readonly availability: string;
}

export interface IssuedCertificate {
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly certPem: string;
  readonly caPem: string;
}

export interface RaftJoinRequest {
  readonly addr: string;
  /** Only a question: is the caller still the member of this id? Changes nothing. */
  readonly raftId?: number;
}

export interface RaftJoinResponse {
  /** Set, and all else empty, when another manager leads: ask there. */
  readonly redirect?: string;
  /** 0: the caller asked with a `raftId` that is no member (any more). */
  readonly raftId: number;
  readonly members: readonly { readonly raftId: number; readonly nodeId: string; readonly addr: string }[];
}

/** Calls to one other node. Errors are ClusterErrors; every unary call has a deadline. */
export interface Peer {
  /** Unauthenticated: the caller pins what it gets with the digest of its token. */
  rootCa(): Promise<{ caPem: string }>;
  issueCertificate(request: IssueRequest): Promise<IssuedCertificate>;
  openSession(): Duplex<AgentMessage, ManagerMessage>;
  call<M extends ControlMethod>(
    method: M,
    request: ControlRequest<M>,
  ): Promise<{ response: ControlResponse<M>; version: number }>;
  joinRaft(request: RaftJoinRequest): Promise<RaftJoinResponse>;
  leaveRaft(request: { nodeId: string }): Promise<void>;
  /** Of a node whose joining failed after it got its certificate: takes its entry away. A `redirect` says where to ask instead. */
  withdraw(): Promise<{ redirect?: string }>;
  /** Log lines of tasks, from the leader's log broker. The stream's first message is the request. */
  openLogs(): Duplex<LogsAsk, LogsMessage>;
  close(): void;
}

export interface LogsRequest {
  readonly selector: { readonly serviceId: string } | { readonly taskId: string };
  readonly query: LogQuery;
  /** Messages that may be on the way or unread. */
  readonly window: number;
}
/** First the request, then what of the answer was taken. */
export type LogsAsk = LogsRequest | { readonly kind: 'taken'; readonly messages: number };
export type LogsMessage =
  | { readonly kind: 'lines'; readonly lines: readonly LogLine[] }
  | { readonly kind: 'end'; readonly error: string };

/** What a manager answers to its peers. `caller` is undefined only for the two bootstrap methods. */
export interface ManagerService {
  rootCa(): Promise<{ caPem: string }>;
  issueCertificate(request: IssueRequest, caller: Identity | undefined): Promise<IssuedCertificate>;
  session(stream: Duplex<ManagerMessage, AgentMessage>, caller: Identity, peerAddress: string): void;
  call(method: ControlMethod, request: unknown, caller: Identity): Promise<{ response: unknown; version: number }>;
  joinRaft(request: RaftJoinRequest, caller: Identity): Promise<RaftJoinResponse>;
  leaveRaft(request: { nodeId: string }, caller: Identity): Promise<void>;
  withdraw(caller: Identity): Promise<{ redirect?: string }>;
  logs(stream: Duplex<LogsMessage, LogsAsk>, caller: Identity): void;
}

/** Dials other nodes with this node's identity. */
export interface Dialer {
  /** `host:port`. Connections are kept and shared; `close` on the peer gives it back. */
  dial(addr: string): Peer;
}
