/**
 * TLS 1.3 between nodes, mutual. The server asks every caller for a certificate but lets callers without one in: a joining
 * node has none yet. Which methods such a caller may use is decided per method in `server.ts`.
 */
import { createSecureContext } from 'node:tls';
import { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';

export interface TlsIdentity {
  readonly caPem: string;
  readonly certPem: string;
  readonly keyPem: string;
}

/** A dialer insists that the other end is a manager by this name in its certificate. */
export const managerServerName = 'swarm-manager';

/** Server credentials that can be given a new certificate while they are in use. */
export class NodeServerCredentials extends ServerCredentials {
  constructor(identity: TlsIdentity) {
    super({ requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.3' }, contextOf(identity));
  }

  renew(identity: TlsIdentity): void {
    this.updateSecureContextOptions(contextOf(identity));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

export function clientCredentials(identity: TlsIdentity): ChannelCredentials {
  return ChannelCredentials.createFromSecureContext(createSecureContext(contextOf(identity)));
}

/** For a node without a certificate: the server is verified against `caPem`. */
export function anonymousCredentials(caPem: string): ChannelCredentials {
  return ChannelCredentials.createFromSecureContext(createSecureContext({ ca: caPem, minVersion: 'TLSv1.3' }));
}

/** Only for fetching the root certificate, which the caller then pins by the digest in its join token. */
export function unverifiedCredentials(): ChannelCredentials {
  return ChannelCredentials.createFromSecureContext(createSecureContext({ minVersion: 'TLSv1.3' }), {
    rejectUnauthorized: false,
  });
}

function contextOf(identity: TlsIdentity) {
  return { ca: identity.caPem, cert: identity.certPem, key: identity.keyPem, minVersion: 'TLSv1.3' as const };
}
