import { X509Certificate } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../lib/random.ts';
import { VirtualClock } from '../../lib/testing/virtual-clock.ts';
import { defaultClusterSpec } from '../../model/defaults.ts';
import { createAuthority, createRequest, generateKey, subjectOf } from '../../pki/certificate.ts';
import { newJoinToken } from '../../pki/join-token.ts';
import { createStore } from '../store/store.ts';
import { CertificateAuthority } from './ca.ts';

async function authority() {
  const clock = new VirtualClock();
  const random = seededRandom(1);
  const root = createAuthority(clock.now());
  const tokens = { worker: newJoinToken(root.certPem, random), manager: newJoinToken(root.certPem, random) };
  const store = createStore({ proposer: null, now: () => clock.now() });
  const rootCa = { ...root, joinTokens: tokens };
  await store.transact((tx) =>
    tx.create('cluster', { id: 'c', spec: defaultClusterSpec, rootCa, removedNodes: {}, nextRaftId: 2 }),
  );
  const ca = new CertificateAuthority({ store, clock, random });
  const csrPem = createRequest(generateKey());
  const ask = (token: string) => ca.issue({ csrPem, token, availability: 'active' }, undefined);
  const renew = (nodeId: string) =>
    ca.issue({ csrPem, token: '', availability: '' }, { nodeId, role: 'worker', clusterId: 'c' });
  return { store, tokens, ask, renew };
}

describe('a certificate', () => {
  test.each(['', 'SWMTKN-1-a-b', 'other'])('C4: is refused to a new node that shows the token "%s"', async (token) => {
    const { store, ask, tokens } = await authority();
    const shown = token === 'other' ? `${tokens.worker.slice(0, -1)}_` : token;
    await expect(ask(shown)).rejects.toMatchObject({
      kind: 'permission_denied',
      message: 'A valid join token is necessary to join this cluster',
    });
    expect(store.view.count('node')).toBe(0);
  });

  test.each(['worker', 'manager'] as const)('C5: the token of a %s gives the role of one', async (role) => {
    const { store, ask, tokens } = await authority();
    const { nodeId, certPem } = await ask(tokens[role]);
    expect(subjectOf(new X509Certificate(certPem))).toEqual({ nodeId, role, clusterId: 'c' });
    expect(store.view.get('node', nodeId)).toMatchObject({ role, spec: { Role: role } });
  });

  test('C6: is renewed without a token under the same id, with the role that the store has by then', async () => {
    const { store, ask, renew, tokens } = await authority();
    const { nodeId } = await ask(tokens.worker);
    expect(await renew(nodeId)).toMatchObject({ nodeId, role: 'worker' });
    await store.transact((tx) => tx.update('node', { ...(tx.get('node', nodeId) ?? expect.fail()), role: 'manager' }));
    const { certPem } = await renew(nodeId);
    expect(subjectOf(new X509Certificate(certPem))).toEqual({ nodeId, role: 'manager', clusterId: 'c' });
    expect(store.view.count('node')).toBe(1);
  });

  test('C8: is not renewed for a node that was removed', async () => {
    const { store, ask, renew, tokens } = await authority();
    const { nodeId } = await ask(tokens.worker);
    await store.transact((tx) => tx.remove('node', nodeId));
    await expect(renew(nodeId)).rejects.toMatchObject({ kind: 'not_found' });
  });
});
