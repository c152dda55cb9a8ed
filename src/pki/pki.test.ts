import { X509Certificate } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../lib/random.ts';
import {
  createAuthority,
  createRequest,
  generateKey,
  isSignedBy,
  issueNodeCertificate,
  requestKey,
  subjectOf,
} from './certificate.ts';
import { caDigest, newJoinToken, parseJoinToken, roleOfToken } from './join-token.ts';
import { renewalTime } from './renewal.ts';

const now = Date.UTC(2026, 0, 1);
const authority = createAuthority(now);

function nodeCert(role: 'manager' | 'worker' = 'worker', csrPem = createRequest(generateKey())) {
  return issueNodeCertificate(authority, {
    csrPem,
    nodeId: 'n'.repeat(25),
    clusterId: 'c'.repeat(25),
    role,
    now,
    lifeMs: 90 * 24 * 3600_000,
  });
}

/** Asks to be `another-node`, a manager of `another-cluster`, with a CA's names and rights. */
const forgedRequest = `-----BEGIN CERTIFICATE REQUEST-----
MIIBUDCB9wIBADBJMRgwFgYDVQQKDA9hbm90aGVyLWNsdXN0ZXIxFjAUBgNVBAsM
DXN3YXJtLW1hbmFnZXIxFTATBgNVBAMMDGFub3RoZXItbm9kZTBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABLB8foTYJwJGmVVpOGUMaONQOcDl92y7kdH7D6CjtBMj
3zNaeE7G1QYjL0QkGu0S1luej0WdkIzC10o98rCoOVigTDBKBgkqhkiG9w0BCQ4x
PTA7MCgGA1UdEQQhMB+CDXN3YXJtLW1hbmFnZXKCCHN3YXJtLWNhhwQKAAABMA8G
A1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgF1txn2HOW8WC+xcDvLOx
NToJDgrEC78jAsrxVD9bEKICIQCnZvyAzQnbehav8pAcXyLwaeW8GmT/5O5sx6vk
smTFTw==
-----END CERTIFICATE REQUEST-----
`;

describe('certificates', () => {
  test('C1: a new root is valid for twenty years, with a key on P-256', () => {
    const root = new X509Certificate(authority.certPem);
    expect(Date.parse(root.validTo) - now).toBe(20 * 365 * 24 * 3600_000);
    expect(root.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: 'prime256v1' });
    expect([root.ca, root.verify(root.publicKey)]).toEqual([true, true]);
  });

  test('C2: of a request only its key is used, whatever else it asks for', () => {
    const cert = new X509Certificate(nodeCert('worker', forgedRequest));
    expect(subjectOf(cert)).toEqual({ nodeId: 'n'.repeat(25), clusterId: 'c'.repeat(25), role: 'worker' });
    expect(cert.subjectAltName).toBe(`DNS:swarm-worker, DNS:${'n'.repeat(25)}`);
    expect(cert.subject.split('\n')).toHaveLength(3);
    expect(cert.ca).toBe(false);
    expect(cert.publicKey.equals(requestKey(forgedRequest))).toBe(true);
  });

  test('a node certificate verifies under its root and names node, role and cluster', () => {
    const cert = new X509Certificate(nodeCert('manager'));
    expect(cert.verify(new X509Certificate(authority.certPem).publicKey)).toBe(true);
    expect(subjectOf(cert)).toEqual({ nodeId: 'n'.repeat(25), clusterId: 'c'.repeat(25), role: 'manager' });
    expect(cert.checkHost('swarm-manager')).toBe('swarm-manager');
    expect(cert.ca).toBe(false);
  });

  test('a worker certificate does not pass for a manager', () => {
    const cert = new X509Certificate(nodeCert('worker'));
    expect(cert.checkHost('swarm-manager')).toBeUndefined();
    expect(subjectOf(cert).role).toBe('worker');
  });

  test('another root does not vouch for it, nor does time out of its validity', () => {
    const cert = nodeCert();
    expect(isSignedBy(cert, authority.certPem, now)).toBe(true);
    expect(isSignedBy(cert, createAuthority(now).certPem, now)).toBe(false);
    expect(isSignedBy(cert, authority.certPem, now + 91 * 24 * 3600_000)).toBe(false);
  });

  test('C2: a request must be signed by its own key', () => {
    const request = createRequest(generateKey());
    expect(requestKey(request).asymmetricKeyType).toBe('ec');
    const der = Buffer.from(request.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
    der.writeUInt8(der.readUInt8(60) ^ 1, 60);
    expect(() =>
      requestKey(`-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`),
    ).toThrow('certificate signing request is malformed');
    expect(() => requestKey('nonsense')).toThrow('malformed');
  });

  test('C10: renewal always falls in 50 to 80 % of the validity', () => {
    const certPem = nodeCert();
    const cert = new X509Certificate(certPem);
    const [from, to] = [Date.parse(cert.validFrom), Date.parse(cert.validTo)];
    const random = seededRandom(1);
    const shares = Array.from({ length: 1_000 }, () => (renewalTime(certPem, random) - from) / (to - from));
    expect(Math.min(...shares)).toBeGreaterThanOrEqual(0.5);
    expect(Math.min(...shares)).toBeLessThan(0.51);
    expect(Math.max(...shares)).toBeLessThanOrEqual(0.8);
    expect(Math.max(...shares)).toBeGreaterThan(0.79);
  });
});

describe('join tokens', () => {
  const random = seededRandom(7);
  const tokens = { worker: newJoinToken(authority.certPem, random), manager: newJoinToken(authority.certPem, random) };

  test('have the documented shape and pin the root', () => {
    expect(tokens.worker).toMatch(/^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
    expect(parseJoinToken(tokens.worker).caDigest).toBe(caDigest(authority.certPem));
  });

  test('C5: give the role they were made for', () => {
    expect(roleOfToken(tokens.worker, tokens)).toBe('worker');
    expect(roleOfToken(tokens.manager, tokens)).toBe('manager');
    expect(roleOfToken(`${tokens.manager.slice(0, -1)}_`, tokens)).toBeUndefined();
  });

  test('a truncated token is refused with what is expected', () => {
    expect(() => parseJoinToken(tokens.worker.slice(0, 60))).toThrow('invalid join token: expected SWMTKN-1-');
  });
});
