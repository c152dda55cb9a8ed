/**
 * Encryption at rest: AES-256-GCM under this manager's data key. A sealed record is
 * version (1 byte) · key id (4) · nonce (12) · ciphertext · tag (16); version and key id are authenticated as well.
 * The nonce is a random prefix (8 bytes) drawn once per process and a counter (4): no nonce comes twice under one key.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Sealer } from 'raft-ts';
import { ClusterError } from '../../lib/errors.ts';
import type { Random } from '../../lib/random.ts';

/** 32 bytes, and the number by which records name it. */
export interface DataKey {
  readonly id: number;
  readonly key: Uint8Array;
}

const formatVersion = 1;
const headLength = 5;
const prefixLength = 8;
const nonceLength = 12;
const tagLength = 16;
const counterMax = 2 ** 32 - 1;
const algorithm = 'aes-256-gcm';

/** Seals with the first key; opens with any. More than one while keys are changed. */
export function createSealer(keys: readonly [DataKey, ...DataKey[]], random: Random): Sealer {
  const [current] = keys;
  const byId = new Map(keys.map((one) => [one.id, one.key]));
  const head = Buffer.alloc(headLength);
  head[0] = formatVersion;
  head.writeUInt32BE(current.id, 1);
  const nonces = nonceSource(random);
  return {
    seal(plain) {
      const nonce = nonces();
      const cipher = createCipheriv(algorithm, current.key, nonce);
      cipher.setAAD(head);
      return Buffer.concat([head, nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    },
    open(sealed) {
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
      if (bytes.length < headLength + nonceLength + tagLength || bytes[0] !== formatVersion) throw unreadable();
      const key = byId.get(bytes.readUInt32BE(1));
      if (key === undefined) throw unreadable();
      return decrypt(key, bytes);
    },
  };
}

function nonceSource(random: Random): () => Buffer {
  let prefix = random.bytes(prefixLength);
  let counter = 0;
  return () => {
    if (counter === counterMax) {
      prefix = random.bytes(prefixLength);
      counter = 0;
    }
    counter += 1;
    const nonce = Buffer.alloc(nonceLength);
    nonce.set(prefix);
    nonce.writeUInt32BE(counter, prefixLength);
    return nonce;
  };
}

function decrypt(key: Uint8Array, bytes: Buffer): Uint8Array {
  const bodyAt = headLength + nonceLength;
  const tagAt = bytes.length - tagLength;
  try {
    const decipher = createDecipheriv(algorithm, key, bytes.subarray(headLength, bodyAt), { authTagLength: tagLength });
    decipher.setAAD(bytes.subarray(0, headLength));
    decipher.setAuthTag(bytes.subarray(tagAt));
    return Buffer.concat([decipher.update(bytes.subarray(bodyAt, tagAt)), decipher.final()]);
  } catch (cause) {
    throw unreadable(cause);
  }
}

function unreadable(cause?: unknown): ClusterError {
  return new ClusterError('internal', 'stored data was not sealed with a known key, or was changed', { cause });
}
