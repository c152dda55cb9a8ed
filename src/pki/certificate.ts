/**
 * X.509 for the cluster: a self-signed root and node certificates under it. Structures are encoded with node-forge, keys are
 * ECDSA P-256 and every signature is made by node:crypto (RSA in JavaScript would hold the event loop for 19 ms).
 *
 * A node's identity is its certificate's subject: CN = node id, OU = `swarm-manager` or `swarm-worker`, O = cluster id
 * (SwarmKit's scheme). A request's own subject is ignored; only its key is used.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
  X509Certificate,
} from 'node:crypto';
import forge from 'node-forge';
import { ClusterError } from '../lib/errors.ts';
import type { NodeRole } from '../model/spec.ts';

const { asn1 } = forge;
type Asn1 = forge.asn1.Asn1;

const oid = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  organizationalUnit: '2.5.4.11',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectAltName: '2.5.29.17',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

const rootLifeMs = 20 * 365 * 24 * 3600_000;
const backdateMs = 3600_000;

export interface KeyPair {
  readonly keyPem: string;
}

/** The signing authority: certificate and key. */
export interface Authority {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface Subject {
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly clusterId: string;
}

/** A new P-256 key as PKCS#8 PEM. */
export function generateKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** A new root: P-256, 20 years, back-dated one hour against clock skew. */
export function createAuthority(now: number): Authority {
  const keyPem = generateKey();
  const key = createPrivateKey(keyPem);
  const name = [{ type: oid.commonName, value: 'swarm-ca' }];
  const certPem = issue({
    issuer: name,
    subject: name,
    notBefore: now - backdateMs,
    notAfter: now + rootLifeMs,
    publicKey: createPublicKey(key),
    signer: key,
    extensions: [
      extension(
        oid.basicConstraints,
        true,
        sequence([asn1.create(asn1.Class.UNIVERSAL, asn1.Type.BOOLEAN, false, '\xff')]),
      ),
      extension(oid.keyUsage, true, bitString('\x01\x06')), // keyCertSign, cRLSign
    ],
  });
  return { certPem, keyPem };
}

/** A certificate signing request (PKCS#10) that proves possession of `keyPem`. */
export function createRequest(keyPem: string): string {
  const key = createPrivateKey(keyPem);
  const info = sequence([
    integer('\x00'),
    encodeName([{ type: oid.commonName, value: 'tscluster node' }]),
    publicKeyInfo(createPublicKey(key)),
    asn1.create(asn1.Class.CONTEXT_SPECIFIC, 0, true, []),
  ]);
  return pem('CERTIFICATE REQUEST', signed(info, key));
}

/** The public key of a request whose signature holds. Errors: `invalid`. */
export function requestKey(csrPem: string): KeyObject {
  try {
    const whole = asn1.fromDer(forge.util.createBuffer(derOf(csrPem).toString('binary')));
    const [info, , signature] = children(whole);
    const spki = children(need(info))[2];
    const key = createPublicKey({
      key: Buffer.from(asn1.toDer(need(spki)).getBytes(), 'binary'),
      format: 'der',
      type: 'spki',
    });
    if (key.asymmetricKeyType !== 'ec' && key.asymmetricKeyType !== 'ed25519') throw new Error('key is not ECDSA');
    const signatureBytes = Buffer.from(stringValue(need(signature)).slice(1), 'binary');
    const tbs = Buffer.from(asn1.toDer(need(info)).getBytes(), 'binary');
    if (!verify('sha256', tbs, key, signatureBytes)) throw new Error('signature does not match');
    return key;
  } catch (cause) {
    throw new ClusterError('invalid', 'certificate signing request is malformed', { cause });
  }
}

export interface NodeCertificateRequest extends Subject {
  readonly csrPem: string;
  readonly now: number;
  readonly lifeMs: number;
}

/** A node certificate for both ends of TLS. SANs are the role and the id, so that a dialer can insist on a manager. */
export function issueNodeCertificate(authority: Authority, request: NodeCertificateRequest): string {
  const unit = roleUnit(request.role);
  const names = [unit, request.nodeId, ...(request.role === 'manager' ? ['swarm-ca'] : [])];
  return issue({
    issuer: [{ type: oid.commonName, value: 'swarm-ca' }],
    subject: [
      { type: oid.organization, value: request.clusterId },
      { type: oid.organizationalUnit, value: unit },
      { type: oid.commonName, value: request.nodeId },
    ],
    notBefore: request.now - backdateMs,
    notAfter: request.now + request.lifeMs,
    publicKey: requestKey(request.csrPem),
    signer: createPrivateKey(authority.keyPem),
    extensions: [
      extension(oid.keyUsage, true, bitString('\x05\xa0')), // digitalSignature, keyEncipherment
      extension(oid.extendedKeyUsage, false, sequence([objectId(oid.serverAuth), objectId(oid.clientAuth)])),
      extension(oid.basicConstraints, true, sequence([])),
      extension(
        oid.subjectAltName,
        false,
        sequence(names.map((name) => asn1.create(asn1.Class.CONTEXT_SPECIFIC, 2, false, name))),
      ),
    ],
  });
}

export function roleUnit(role: NodeRole): string {
  return role === 'manager' ? 'swarm-manager' : 'swarm-worker';
}

/** Who a certificate says its holder is. Says nothing about who signed it. Errors: `unauthenticated`. */
export function subjectOf(cert: X509Certificate): Subject {
  const fields = new Map(
    cert.subject.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
  const unit = fields.get('OU');
  const nodeId = fields.get('CN');
  const clusterId = fields.get('O');
  if (nodeId === undefined || clusterId === undefined || (unit !== 'swarm-manager' && unit !== 'swarm-worker')) {
    throw new ClusterError('unauthenticated', 'certificate does not name a node of a cluster');
  }
  return { nodeId, clusterId, role: unit === 'swarm-manager' ? 'manager' : 'worker' };
}

/** True when `certPem` was signed by `caPem` and is within its validity at `now`. */
export function isSignedBy(certPem: string, caPem: string, now: number): boolean {
  const cert = new X509Certificate(certPem);
  const ca = new X509Certificate(caPem);
  return cert.verify(ca.publicKey) && Date.parse(cert.validFrom) <= now && now < Date.parse(cert.validTo);
}

interface Issue {
  readonly issuer: readonly NameField[];
  readonly subject: readonly NameField[];
  readonly notBefore: number;
  readonly notAfter: number;
  readonly publicKey: KeyObject;
  readonly signer: KeyObject;
  readonly extensions: readonly Asn1[];
}

interface NameField {
  readonly type: string;
  readonly value: string;
}

function issue(certificate: Issue): string {
  const tbs = sequence([
    asn1.create(asn1.Class.CONTEXT_SPECIFIC, 0, true, [integer('\x02')]),
    integer(serialNumber()),
    algorithm(),
    encodeName(certificate.issuer),
    sequence([time(certificate.notBefore), time(certificate.notAfter)]),
    encodeName(certificate.subject),
    publicKeyInfo(certificate.publicKey),
    asn1.create(asn1.Class.CONTEXT_SPECIFIC, 3, true, [sequence([...certificate.extensions])]),
  ]);
  return pem('CERTIFICATE', signed(tbs, certificate.signer));
}

function signed(body: Asn1, key: KeyObject): Buffer {
  const signature = sign('sha256', Buffer.from(asn1.toDer(body).getBytes(), 'binary'), key);
  return toDer(sequence([body, algorithm(), bitString(`\x00${signature.toString('binary')}`)]));
}

/** 16 random bytes, positive and without leading zeros as DER wants them (RFC 5280 §4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40, 0);
  return bytes.toString('binary');
}

/** UTCTime up to 2049, GeneralizedTime from then on (RFC 5280 §4.1.2.5). */
function time(ms: number): Asn1 {
  const date = new Date(ms);
  return date.getUTCFullYear() < 2050
    ? asn1.create(asn1.Class.UNIVERSAL, asn1.Type.UTCTIME, false, asn1.dateToUtcTime(date) as unknown as string)
    : asn1.create(
        asn1.Class.UNIVERSAL,
        asn1.Type.GENERALIZEDTIME,
        false,
        asn1.dateToGeneralizedTime(date) as unknown as string,
      );
}

function encodeName(fields: readonly NameField[]): Asn1 {
  const set = ({ type, value }: NameField) =>
    asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SET, true, [
      sequence([
        objectId(type),
        asn1.create(asn1.Class.UNIVERSAL, asn1.Type.UTF8, false, forge.util.encodeUtf8(value)),
      ]),
    ]);
  return sequence(fields.map(set));
}

function extension(id: string, critical: boolean, value: Asn1): Asn1 {
  const flag = critical ? [asn1.create(asn1.Class.UNIVERSAL, asn1.Type.BOOLEAN, false, '\xff')] : [];
  return sequence([
    objectId(id),
    ...flag,
    asn1.create(asn1.Class.UNIVERSAL, asn1.Type.OCTETSTRING, false, asn1.toDer(value).getBytes()),
  ]);
}

function publicKeyInfo(key: KeyObject): Asn1 {
  return asn1.fromDer(forge.util.createBuffer(key.export({ type: 'spki', format: 'der' }).toString('binary')));
}

function algorithm(): Asn1 {
  return sequence([objectId(oid.ecdsaWithSha256)]);
}

function sequence(values: Asn1[]): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, values);
}

function integer(bytes: string): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.INTEGER, false, bytes);
}

function objectId(id: string): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.OID, false, asn1.oidToDer(id).getBytes());
}

/** The first byte counts the unused bits of the last one. */
function bitString(bytes: string): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.BITSTRING, false, bytes);
}

function toDer(value: Asn1): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), 'binary');
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

function derOf(text: string): Buffer {
  const body = /-----BEGIN [^-]+-----([A-Za-z0-9+/=\s]+)-----END/.exec(text)?.[1];
  if (body === undefined || text.length > 16_384) throw new Error('not PEM');
  return Buffer.from(body, 'base64');
}

function children(value: Asn1): Asn1[] {
  if (!Array.isArray(value.value)) throw new Error('not a structure');
  return value.value;
}

function stringValue(value: Asn1): string {
  // A bit string that happens to hold valid DER is decoded by node-forge as a structure; its raw bytes are kept beside it.
  const raw = (value as { bitStringContents?: string }).bitStringContents ?? value.value;
  if (typeof raw !== 'string') throw new Error('not a primitive value');
  return raw;
}

function need<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('structure is too short');
  return value;
}
