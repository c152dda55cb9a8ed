/** The gRPC transport and the service that a host adds to its own server. */
import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { raftDefinition } from './service.ts';
import type { GrpcTransport } from './transport.ts';

export { protocolVersion } from './service.ts';
export { GrpcTransport, type GrpcTransportOptions, type RaftCall } from './transport.ts';

/** The service of `raft.v1.Raft`, for a gRPC server of the host. */
export interface RaftService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

/** For `server.addService(service.definition, service.implementation)`. */
export function raftService(transport: GrpcTransport): RaftService {
  return {
    definition: raftDefinition,
    implementation: {
      messages: (call: Parameters<GrpcTransport['acceptMessages']>[0]) => {
        void transport.acceptMessages(call);
      },
      snapshot: (call: Parameters<GrpcTransport['acceptSnapshot']>[0]) => {
        void transport.acceptSnapshot(call);
      },
    },
  };
}
