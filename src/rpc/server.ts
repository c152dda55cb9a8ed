/**
 * The node-to-node server of a manager. Every method names the roles that may call it; the identity comes from the
 * caller's certificate, whose organisation must be this cluster and which must not be of a removed node.
 */
import { X509Certificate } from 'node:crypto';
import {
  Server as GrpcServer,
  type Server,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { ClusterError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { AgentMessage, ManagerMessage } from '../model/assignment.ts';
import type { ControlMethod } from '../model/control.ts';
import type { NodeRole } from '../model/spec.ts';
import { subjectOf } from '../pki/certificate.ts';
import { decodeAgentMessage, decodeJoin, decodeLogsAsk, requireTexts } from './codec.ts';
import type { NodeServerCredentials } from './credentials.ts';
import { serverDuplex } from './duplex.ts';
import type { Identity, LogsAsk, LogsMessage, ManagerService } from './port.ts';
import { type ManagerMethod, managerMethods, messageBytesMax } from './services.ts';
import { toStatus } from './status.ts';

/** Removed nodes may call these; the service itself tells them what they are. */
const answersRemoved: readonly ManagerMethod[] = ['session'];

/** `anyone`: callers without a certificate too. */
const mayCall: Readonly<Record<ManagerMethod, readonly (NodeRole | 'anyone')[]>> = {
  rootCa: ['anyone'],
  issueCertificate: ['anyone'],
  session: ['worker', 'manager'],
  call: ['manager'],
  joinRaft: ['manager'],
  leaveRaft: ['manager'],
  withdraw: ['worker', 'manager'],
  logs: ['manager'],
};

export interface RpcServerOptions {
  readonly service: ManagerService;
  readonly credentials: NodeServerCredentials;
  readonly clusterId: string;
  /** True for nodes removed from the cluster: their certificates are still valid, but no longer welcome. */
  readonly isRemoved: (nodeId: string) => boolean;
  /** Further services on the same port, e.g. Raft's own. */
  readonly extra?: readonly {
    readonly definition: ServiceDefinition;
    readonly implementation: UntypedServiceImplementation;
  }[];
  readonly log: Log;
}

export class RpcServer {
  readonly #server: Server;
  readonly #options: RpcServerOptions;

  constructor(options: RpcServerOptions) {
    this.#options = options;
    this.#server = new GrpcServer({
      'grpc.max_receive_message_length': messageBytesMax,
      'grpc.max_send_message_length': messageBytesMax,
      'grpc.keepalive_time_ms': 5_000,
      'grpc.keepalive_timeout_ms': 3_000,
      'grpc.max_concurrent_streams': 1_000,
    });
    this.#server.addService(managerMethods as unknown as ServiceDefinition, this.#implementation());
    for (const { definition, implementation } of options.extra ?? [])
      this.#server.addService(definition, implementation);
  }

  /** Errors: `failed_precondition` when the address is taken. Returns the port. */
  listen(addr: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(addr, this.#options.credentials, (error, port) => {
        if (error === null) resolve(port);
        else
          reject(
            new ClusterError('failed_precondition', `Cannot listen on ${addr}: ${error.message}`, { cause: error }),
          );
      });
    });
  }

  /** Ends every connection at once: peers notice and go elsewhere. */
  close(): void {
    this.#server.forceShutdown();
  }

  #implementation(): UntypedServiceImplementation {
    const { service } = this.#options;
    return {
      rootCa: this.#unary('rootCa', () => service.rootCa()),
      issueCertificate: this.#unary('issueCertificate', (document, caller) => {
        const request = requireTexts(document, ['csrPem', 'token', 'availability']);
        return service.issueCertificate(request, caller);
      }),
      call: this.#unary('call', (document, caller) => {
        const { method } = requireTexts(document, ['method']);
        return service.call(method as ControlMethod, (document as { request?: unknown }).request, known(caller));
      }),
      joinRaft: this.#unary('joinRaft', (document, caller) => service.joinRaft(decodeJoin(document), known(caller))),
      leaveRaft: this.#unary('leaveRaft', async (document, caller) => {
        await service.leaveRaft(requireTexts(document, ['nodeId']), known(caller));
        return {};
      }),
      withdraw: this.#unary('withdraw', (_, caller) => service.withdraw(known(caller))),
      session: this.#stream('session', (call, caller) => {
        const stream = serverDuplex<ManagerMessage, AgentMessage>(call, {
          decode: decodeAgentMessage,
          peer: caller.nodeId,
        });
        service.session(stream, caller, addressOf(call.getPeer()));
      }),
      logs: this.#stream('logs', (call, caller) => {
        service.logs(serverDuplex<LogsMessage, LogsAsk>(call, { decode: decodeLogsAsk, peer: caller.nodeId }), caller);
      }),
    };
  }

  #unary(method: ManagerMethod, run: (document: object, caller: Identity | undefined) => Promise<object>) {
    return (call: ServerUnaryCall<object, object>, answer: sendUnaryData<object>) => {
      const work = async () => run(call.request, this.authorize(call, mayCall[method]));
      work().then(
        (response) => answer(null, response),
        (error) => answer(toStatus(error)),
      );
    };
  }

  #stream(method: ManagerMethod, run: (call: ServerDuplexStream<object, object>, caller: Identity) => void) {
    return (call: ServerDuplexStream<object, object>) => {
      try {
        run(call, known(this.#authorize(call, mayCall[method], answersRemoved.includes(method))));
      } catch (error) {
        call.emit('error', toStatus(error));
      }
    };
  }

  /** The caller's identity, if its certificate is good and its role is in `roles`. Errors: `unauthenticated`, `permission_denied`. */
  authorize(
    call: Pick<ServerUnaryCall<object, object>, 'getAuthContext'>,
    roles: readonly (NodeRole | 'anyone')[],
  ): Identity | undefined {
    return this.#authorize(call, roles, false);
  }

  #authorize(
    call: Pick<ServerUnaryCall<object, object>, 'getAuthContext'>,
    roles: readonly (NodeRole | 'anyone')[],
    removedToo: boolean,
  ): Identity | undefined {
    const raw = call.getAuthContext().sslPeerCertificate?.raw;
    if (raw === undefined) {
      if (roles.includes('anyone')) return undefined;
      throw new ClusterError('unauthenticated', 'a certificate of this cluster is needed');
    }
    const caller = subjectOf(new X509Certificate(raw));
    if (caller.clusterId !== this.#options.clusterId) {
      throw new ClusterError('permission_denied', 'certificate belongs to another cluster');
    }
    if (!removedToo && this.#options.isRemoved(caller.nodeId)) {
      throw new ClusterError('permission_denied', `node ${caller.nodeId} was removed from the cluster`);
    }
    if (!roles.includes('anyone') && !roles.includes(caller.role)) {
      throw new ClusterError('permission_denied', `role "${caller.role}" may not call this method`);
    }
    return caller;
  }
}

function known(caller: Identity | undefined): Identity {
  if (caller === undefined) throw new ClusterError('unauthenticated', 'a certificate of this cluster is needed');
  return caller;
}

/** The IP of gRPC's `ip:port` or `[ip]:port`. */
function addressOf(peer: string): string {
  return peer.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}
