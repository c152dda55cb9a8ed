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

function nodeCert(role: 'manager' | 'worker' = 'worker') {
  return issueNodeCertificate(authority, {
    csrPem: createRequest(generateKey()),
    nodeId: 'n'.repeat(25),
    clusterId: 'c'.repeat(25),
    role,
    now,
    lifeMs: 90 * 24 * 3600_000,
  });
}

describe('certificates', () => {
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

  test('a request must be signed by its own key', () => {
    const request = createRequest(generateKey());
    expect(requestKey(request).asymmetricKeyType).toBe('ec');
    const der = Buffer.from(request.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
    der.writeUInt8(der.readUInt8(60) ^ 1, 60);
    expect(() =>
      requestKey(`-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`),
    ).toThrow('certificate signing request is malformed');
    expect(() => requestKey('nonsense')).toThrow('malformed');
  });

  test('renewal falls in 50 to 80 % of the validity', () => {
    const at = renewalTime(nodeCert(), seededRandom(1));
    expect(at).toBeGreaterThan(now + 44 * 24 * 3600_000);
    expect(at).toBeLessThan(now + 73 * 24 * 3600_000);
  });
});

describe('join tokens', () => {
  const random = seededRandom(7);
  const tokens = { worker: newJoinToken(authority.certPem, random), manager: newJoinToken(authority.certPem, random) };

  test('have the documented shape and pin the root', () => {
    expect(tokens.worker).toMatch(/^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
    expect(parseJoinToken(tokens.worker).caDigest).toBe(caDigest(authority.certPem));
  });

  test('give the role they were made for', () => {
    expect(roleOfToken(tokens.worker, tokens)).toBe('worker');
    expect(roleOfToken(tokens.manager, tokens)).toBe('manager');
    expect(roleOfToken(`${tokens.manager.slice(0, -1)}_`, tokens)).toBeUndefined();
  });

  test('a truncated token is refused with what is expected', () => {
    expect(() => parseJoinToken(tokens.worker.slice(0, 60))).toThrow('invalid join token: expected SWMTKN-1-');
  });
});
