/** How a node that is in no cluster gets a certificate, and how it gives up again when it could not make use of it. */
import type { Clock } from '../lib/clock.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { JoinRequest } from '../model/control.ts';
import type { StoredIdentity } from '../pki/identity-store.ts';
import type { JoinToken } from '../pki/join-token.ts';
import { dialWithToken, GrpcDialer } from '../rpc/client.ts';
import type { IssuedCertificate } from '../rpc/port.ts';
import { remoteAddress } from './system.ts';

const redirectsMax = 2;

interface AdmissionOptions {
  readonly csrPem: string;
  readonly token: JoinToken;
  readonly clock: Clock;
}

/** A certificate from the first of the given managers that answers. */
export async function admission(
  request: JoinRequest,
  { csrPem, token, clock }: AdmissionOptions,
): Promise<{ issued: IssuedCertificate; remote: string }> {
  let last: unknown;
  for (const remote of request.remoteAddrs.map(remoteAddress)) {
    try {
      const { peer, caPem } = await dialWithToken(remote, token, clock);
      const issue = { csrPem, token: request.joinToken.trim(), availability: request.availability };
      const issued = await peer.issueCertificate(issue).finally(() => peer.close());
      return { issued: { ...issued, caPem }, remote };
    } catch (error) {
      last = error;
      if (!(error instanceof ClusterError) || !error.retryable) break;
    }
  }
  throw last;
}

/** The managers have an entry for this node since they gave it a certificate: nobody will ever fill it. Never throws. */
export async function withdraw(
  identity: StoredIdentity,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Promise<void> {
  const dialer = new GrpcDialer(identity, clock);
  let addr = identity.managers[0]?.addr ?? '';
  try {
    for (let redirects = 0; redirects <= redirectsMax; redirects++) {
      const peer = dialer.dial(addr);
      const { redirect } = await peer.withdraw().finally(() => peer.close());
      if (redirect === undefined) return;
      addr = redirect;
    }
  } catch (error) {
    log.warn('the cluster may show a node that did not join', { reason: messageOf(error) });
  }
}
