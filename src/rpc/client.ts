/** Calls to other nodes over gRPC. Channels are shared per address and follow the node's current certificate. */
import { type ChannelCredentials, Client, type ClientDuplexStream, Metadata } from '@grpc/grpc-js';
import type { Clock } from '../lib/clock.ts';
import { ClusterError } from '../lib/errors.ts';
import type { Duplex } from '../lib/stream.ts';
import type { AgentMessage, ManagerMessage } from '../model/assignment.ts';
import type { ControlMethod, ControlRequest, ControlResponse } from '../model/control.ts';
import { caDigest, type JoinToken } from '../pki/join-token.ts';
import { decodeLogsMessage, decodeManagerMessage } from './codec.ts';
import {
  anonymousCredentials,
  clientCredentials,
  managerServerName,
  type TlsIdentity,
  unverifiedCredentials,
} from './credentials.ts';
import { clientDuplex } from './duplex.ts';
import type {
  Dialer,
  IssuedCertificate,
  IssueRequest,
  LogsAsk,
  LogsMessage,
  Peer,
  RaftJoinRequest,
  RaftJoinResponse,
} from './port.ts';
import { managerMethods, messageBytesMax } from './services.ts';
import { fromServiceError } from './status.ts';

const callLimitMs = 10_000;
/** Joining waits until the new member has caught up. */
const joinLimitMs = 30_000;

export class GrpcPeer implements Peer {
  readonly #client: Client;
  readonly #addr: string;
  readonly #clock: Clock;
  readonly #onClose: () => void;

  constructor(addr: string, credentials: ChannelCredentials, clock: Clock, onClose: () => void = () => {}) {
    this.#addr = addr;
    this.#clock = clock;
    this.#onClose = onClose;
    this.#client = new Client(addr, credentials, {
      'grpc.ssl_target_name_override': managerServerName,
      'grpc.default_authority': managerServerName,
      'grpc.max_receive_message_length': messageBytesMax,
      'grpc.max_send_message_length': messageBytesMax,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.keepalive_time_ms': 5_000,
      'grpc.keepalive_timeout_ms': 3_000,
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  async rootCa(): Promise<{ caPem: string }> {
    return (await this.#unary('rootCa', {}, callLimitMs)) as { caPem: string };
  }

  async issueCertificate(request: IssueRequest): Promise<IssuedCertificate> {
    return (await this.#unary('issueCertificate', request, callLimitMs)) as IssuedCertificate;
  }

  async call<M extends ControlMethod>(
    method: M,
    request: ControlRequest<M>,
  ): Promise<{ response: ControlResponse<M>; version: number }> {
    return (await this.#unary('call', { method, request }, callLimitMs)) as {
      response: ControlResponse<M>;
      version: number;
    };
  }

  async joinRaft(request: RaftJoinRequest): Promise<RaftJoinResponse> {
    return (await this.#unary('joinRaft', request, joinLimitMs)) as RaftJoinResponse;
  }

  async leaveRaft(request: { nodeId: string }): Promise<void> {
    await this.#unary('leaveRaft', request, callLimitMs);
  }

  async withdraw(): Promise<{ redirect?: string }> {
    return this.#unary('withdraw', {}, callLimitMs);
  }

  openSession(): Duplex<AgentMessage, ManagerMessage> {
    return clientDuplex<AgentMessage, ManagerMessage>(this.#open('session'), {
      decode: decodeManagerMessage,
      peer: this.#addr,
    });
  }

  openLogs(): Duplex<LogsAsk, LogsMessage> {
    return clientDuplex<LogsAsk, LogsMessage>(this.#open('logs'), { decode: decodeLogsMessage, peer: this.#addr });
  }

  close(): void {
    this.#client.close();
    this.#onClose();
  }

  #open(name: 'session' | 'logs'): ClientDuplexStream<object, object> {
    const { path, requestSerialize, responseDeserialize } = managerMethods[name];
    return this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata());
  }

  #unary(
    name: 'rootCa' | 'issueCertificate' | 'call' | 'joinRaft' | 'leaveRaft' | 'withdraw',
    request: object,
    limitMs: number,
  ): Promise<object> {
    const { path, requestSerialize, responseDeserialize } = managerMethods[name];
    const options = { deadline: new Date(this.#clock.now() + limitMs) };
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new Metadata(),
        options,
        (error, response) => {
          if (error !== null) reject(fromServiceError(error, this.#addr));
          else if (response === undefined) reject(new ClusterError('internal', `${this.#addr} gave no answer`));
          else resolve(response);
        },
      );
    });
  }
}

/** Peers with this node's identity; one channel per address while anyone uses it. */
export class GrpcDialer implements Dialer {
  readonly #clock: Clock;
  #identity: TlsIdentity;

  constructor(identity: TlsIdentity, clock: Clock) {
    this.#identity = identity;
    this.#clock = clock;
  }

  dial(addr: string): GrpcPeer {
    return new GrpcPeer(addr, clientCredentials(this.#identity), this.#clock);
  }

  /** Connections dialled from now on use the new certificate. */
  renew(identity: TlsIdentity): void {
    this.#identity = identity;
  }
}

/**
 * A peer for a node that has only a join token: the root certificate is fetched unverified, compared with the token's
 * digest, and the real connection then trusts nothing else. Errors: `permission_denied` for another cluster's root.
 */
export async function dialWithToken(
  addr: string,
  token: JoinToken,
  clock: Clock,
): Promise<{ peer: GrpcPeer; caPem: string }> {
  const stranger = new GrpcPeer(addr, unverifiedCredentials(), clock);
  const { caPem } = await stranger.rootCa().finally(() => stranger.close());
  if (typeof caPem !== 'string' || caDigest(caPem) !== token.caDigest) {
    throw new ClusterError(
      'permission_denied',
      `remote CA does not match fingerprint: the join token is not of the cluster at ${addr}`,
    );
  }
  return { peer: new GrpcPeer(addr, anonymousCredentials(caPem), clock), caPem };
}
