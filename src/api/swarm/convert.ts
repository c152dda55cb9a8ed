import { X509Certificate } from 'node:crypto';
import { clusterNetworkOf } from '../../model/cluster-labels.ts';
import type { Cluster } from '../../model/objects.ts';
import { head } from '../common.ts';

export function convertCluster(cluster: Cluster) {
  const { addressPools, subnetSize, dataPathPort, gatewayPools, ingressPool } = clusterNetworkOf(cluster);
  return {
    ...head(cluster),
    Spec: cluster.spec,
    TLSInfo: tlsInfo(cluster.rootCa.certPem),
    RootRotationInProgress: false,
    DefaultAddrPool: addressPools,
    SubnetSize: subnetSize,
    DataPathPort: dataPathPort,
    TsCluster: { GatewayPools: gatewayPools, IngressPool: ingressPool },
  };
}

/** With the join tokens: only for `GET /swarm`. */
export function convertSwarm(cluster: Cluster) {
  const { worker, manager } = cluster.rootCa.joinTokens;
  return { ...convertCluster(cluster), JoinTokens: { Worker: worker, Manager: manager } };
}

const known = new Map<string, ReturnType<typeof readTlsInfo>>();

/** Docker's description of a root certificate. */
export function tlsInfo(certPem: string) {
  const kept = known.get(certPem);
  if (kept !== undefined) return kept;
  const info = readTlsInfo(certPem);
  known.clear();
  known.set(certPem, info);
  return info;
}

function readTlsInfo(certPem: string) {
  const empty = { TrustRoot: certPem, CertIssuerSubject: '', CertIssuerPublicKey: '' };
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(certPem);
  } catch {
    return empty;
  }
  const key = certificate.publicKey.export({ type: 'spki', format: 'der' });
  return {
    TrustRoot: certPem,
    CertIssuerSubject: issuerOf(certificate.raw).toString('base64'),
    CertIssuerPublicKey: key.toString('base64'),
  };
}

/** The DER of the issuer's name: Certificate { tbs { [0] version, serial, algorithm, issuer … (RFC 5280, 4.1). */
function issuerOf(der: Buffer): Buffer {
  const certificate = element(der, 0);
  const tbs = element(der, certificate.body);
  let at = tbs.body;
  for (const skipped of ['version', 'serial', 'algorithm']) {
    if (skipped === 'version' && der[at] !== 0xa0) continue;
    at = element(der, at).end;
  }
  return der.subarray(at, element(der, at).end);
}

function element(der: Buffer, at: number): { body: number; end: number } {
  const first = der[at + 1] ?? 0;
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  const length = lengthBytes === 0 ? first : der.readUIntBE(at + 2, lengthBytes);
  const body = at + 2 + lengthBytes;
  return { body, end: body + length };
}
