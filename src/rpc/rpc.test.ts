import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ClusterError } from '../lib/errors.ts';
import { silentLog } from '../lib/log.ts';
import { realClock, realRandom } from '../lib/real.ts';
import type { AgentMessage } from '../model/assignment.ts';
import { networkProblemsMax } from '../model/assignment.ts';
import { createAuthority, createRequest, generateKey, issueNodeCertificate } from '../pki/certificate.ts';
import { newJoinToken, parseJoinToken } from '../pki/join-token.ts';
import { dialWithToken, GrpcDialer } from './client.ts';
import { decodeAgentMessage } from './codec.ts';
import { NodeServerCredentials, type TlsIdentity } from './credentials.ts';
import type { ManagerService } from './port.ts';
import { RpcServer } from './server.ts';
import { fromServiceError, toStatus } from './status.ts';

const authority = createAuthority(Date.now());
const clusterId = 'c'.repeat(25);

function identity(
  nodeId: string,
  role: 'manager' | 'worker',
  signer = authority,
  organisation = clusterId,
): TlsIdentity {
  const keyPem = generateKey();
  const certPem = issueNodeCertificate(signer, {
    csrPem: createRequest(keyPem),
    nodeId,
    role,
    clusterId: organisation,
    now: Date.now(),
    lifeMs: 3600_000,
  });
  return { caPem: signer.certPem, certPem, keyPem };
}

const seen: AgentMessage[] = [];
const service: ManagerService = {
  rootCa: async () => ({ caPem: authority.certPem }),
  issueCertificate: async (request, caller) => ({
    nodeId: caller?.nodeId ?? 'new',
    role: 'worker',
    certPem: request.csrPem,
    caPem: '',
  }),
  session: (stream, caller) => {
    stream.onMessage((message) => {
      seen.push(message);
      stream.send({ kind: 'welcome', session: caller.nodeId, heartbeatMs: 1000 });
    });
  },
  call: async (method) => {
    if (method === 'service.remove') throw new ClusterError('not_found', 'service nope not found');
    return { response: { method }, version: 7 };
  },
  joinRaft: async () => ({ raftId: 2, members: [] }),
  leaveRaft: async () => {},
  withdraw: async () => ({}),
  logs: (stream) => stream.close(new ClusterError('unimplemented', 'no logs here')),
};

let server: RpcServer;
let addr = '';

beforeAll(async () => {
  server = new RpcServer({
    service,
    credentials: new NodeServerCredentials(identity('m1', 'manager')),
    clusterId,
    isRemoved: (nodeId) => nodeId === 'removed',
    log: silentLog,
  });
  addr = `127.0.0.1:${await server.listen('127.0.0.1:0')}`;
});
afterAll(() => server.close());

function dial(who: TlsIdentity) {
  return new GrpcDialer(who, realClock).dial(addr);
}

describe('calls between nodes', () => {
  test('a manager may call control methods and gets errors as ClusterErrors', async () => {
    const peer = dial(identity('m2', 'manager'));
    expect(await peer.call('node.remove', { id: 'x', force: false })).toEqual({
      response: { method: 'node.remove' },
      version: 7,
    });
    await expect(peer.call('service.remove', { id: 'nope' })).rejects.toMatchObject({
      kind: 'not_found',
      message: 'service nope not found',
    });
    peer.close();
  });

  test('D3: a worker may not call control methods', async () => {
    const peer = dial(identity('w1', 'worker'));
    await expect(peer.call('service.remove', { id: 'x' })).rejects.toMatchObject({ kind: 'permission_denied' });
    await expect(peer.joinRaft({ addr: 'x' })).rejects.toMatchObject({ kind: 'permission_denied' });
    peer.close();
  });

  test('D3 C7 C8: a removed node and nodes of another cluster are refused', async () => {
    const removed = dial(identity('removed', 'manager'));
    await expect(removed.joinRaft({ addr: 'x' })).rejects.toMatchObject({ kind: 'permission_denied' });
    removed.close();
    const stranger = dial(identity('m9', 'manager', authority, 'd'.repeat(25)));
    await expect(stranger.joinRaft({ addr: 'x' })).rejects.toMatchObject({ kind: 'permission_denied' });
    stranger.close();
    const worker = dial(identity('w9', 'worker', authority, 'd'.repeat(25)));
    const ended = new Promise((resolve) => worker.openSession().onClose(resolve));
    expect(await ended).toMatchObject({ kind: 'permission_denied' });
    worker.close();
  });

  test('C7: a certificate of another root ends the connection', async () => {
    const other = createAuthority(Date.now());
    const forged = identity('m2', 'manager', other);
    const peer = dial({ ...forged, caPem: authority.certPem });
    await expect(peer.joinRaft({ addr: 'x' })).rejects.toMatchObject({ kind: 'deadline' });
    peer.close();
  });

  test('a session carries messages both ways and the caller is who its certificate says', async () => {
    const peer = dial(identity('w1', 'worker'));
    const stream = peer.openSession();
    const answer = await new Promise((resolve, reject) => {
      stream.onMessage(resolve);
      stream.onClose(reject);
      stream.send({ kind: 'beat' });
    });
    expect(answer).toEqual({ kind: 'welcome', session: 'w1', heartbeatMs: 1000 });
    expect(seen.at(-1)).toEqual({ kind: 'beat' });
    stream.close();
    peer.close();
  });

  test('a hostile message ends the stream and nothing else', async () => {
    const peer = dial(identity('w1', 'worker'));
    const stream = peer.openSession();
    const ended = new Promise<Error | undefined>((resolve) => stream.onClose(resolve));
    stream.send({ kind: 'status', reports: [{ taskId: 5 }] } as unknown as AgentMessage);
    expect(await ended).toMatchObject({ kind: 'invalid' });
    expect((await peer.rootCa()).caPem).toBe(authority.certPem);
    peer.close();
  });
});

describe('joining', () => {
  test('C3 D3: a token pins the root; without a certificate only the bootstrap methods answer', async () => {
    const { peer, caPem } = await dialWithToken(
      addr,
      parseJoinToken(newJoinToken(authority.certPem, realRandom)),
      realClock,
    );
    expect(caPem).toBe(authority.certPem);
    expect(await peer.issueCertificate({ csrPem: 'c', token: 't', availability: 'active' })).toMatchObject({
      nodeId: 'new',
    });
    await expect(peer.joinRaft({ addr: 'x' })).rejects.toMatchObject({ kind: 'unauthenticated' });
    peer.close();
  });

  test("C3: another cluster's token is refused", async () => {
    const other = parseJoinToken(newJoinToken(createAuthority(Date.now()).certPem, realRandom));
    await expect(dialWithToken(addr, other, realClock)).rejects.toMatchObject({ kind: 'permission_denied' });
  });

  test('an address nobody answers on fails in bounded time and says so', async () => {
    const token = parseJoinToken(newJoinToken(authority.certPem, realRandom));
    await expect(dialWithToken('127.0.0.1:1', token, realClock)).rejects.toMatchObject({ kind: 'unavailable' });
  });
});

test('agent messages of unknown kind are refused', () => {
  expect(() => decodeAgentMessage({ kind: 'constructor' })).toThrow('malformed');
});

describe('what a hostile worker says is refused when', () => {
  const description = {
    hostname: 'w1',
    platform: { architecture: 'x86_64', os: 'linux' },
    resources: { GenericResources: [{ NamedResourceSpec: { Kind: 'gpu', Value: 'a' } }] },
    engine: { version: '1', labels: {} as Record<string, string>, plugins: [] },
  };
  const status = { state: 512, timestamp: 1, message: '', err: '' };
  const hello = (over: object) => () =>
    decodeAgentMessage({ kind: 'hello', addr: '', description: { ...description, ...over } });
  const report = (over: object) => () =>
    decodeAgentMessage({ kind: 'status', reports: [{ taskId: 't', status: { ...status, ...over } }] });

  test('well-formed messages pass', () => {
    expect(hello({})).not.toThrow();
    expect(report({})).not.toThrow();
  });

  test('its network problems are too many, too long or no problems', () => {
    const ack = (over: object) => () => decodeAgentMessage({ kind: 'networkAck', version: 1, problems: [], ...over });
    const problem = { serviceId: 's', message: 'port 80 is taken' };
    expect(ack({ problems: [problem, { networkId: 'n', message: '' }] })).not.toThrow();
    expect(ack({ problems: Array(networkProblemsMax + 1).fill(problem) })).toThrow('malformed');
    expect(ack({ problems: [{ ...problem, message: 'x'.repeat(2_000) }] })).toThrow('malformed');
    expect(ack({ problems: [{ ...problem, serviceId: 7 }] })).toThrow('malformed');
    expect(ack({ problems: [{}] })).toThrow('malformed');
    for (const version of [0, -1, 1.5, '1']) expect(ack({ version })).toThrow('malformed');
  });

  test('its description would fill the log of every manager', () => {
    expect(hello({ hostname: 'x'.repeat(2_000) })).toThrow('malformed');
    const labels = Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`l${at}`, 'x'.repeat(1_000)]));
    expect(hello({ engine: { ...description.engine, labels } })).toThrow('malformed');
  });

  test('its resources are none that the scheduler can count', () => {
    expect(hello({ resources: { GenericResources: [{ DiscreteResourceSpec: null }] } })).toThrow('malformed');
    expect(hello({ resources: { GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 'a' } }] } })).toThrow(
      'malformed',
    );
  });

  test('a time cannot be shown, or an id is endless', () => {
    expect(report({ timestamp: 1e300 })).toThrow('malformed');
    expect(report({ container: { containerId: 'x'.repeat(2_000), pid: 1, exitCode: 0 } })).toThrow('malformed');
  });
});

describe('an error', () => {
  const asSeen = (status: object) => fromServiceError(Object.assign(new Error('x'), status), 'm1');

  test('of the peer arrives with its kind and its words', () => {
    for (const kind of ['unavailable', 'deadline', 'already_exists'] as const)
      expect(asSeen(toStatus(new ClusterError(kind, 'why')))).toMatchObject({ kind, message: 'why' });
  });

  test('of a connection that broke under a call is no promise that nothing was done', () => {
    for (const details of ['Connection dropped', 'read ECONNRESET', 'Write failed with error write EPIPE'])
      expect(asSeen({ code: Code.UNAVAILABLE, details })).toMatchObject({ kind: 'deadline' });
    const refused = 'No connection established. Last error: Error: connect ECONNREFUSED. Resolution note: ';
    expect(asSeen({ code: Code.UNAVAILABLE, details: refused })).toMatchObject({ kind: 'unavailable' });
  });

  test('of a name that is not resolved in time names the peer', () => {
    const details = 'Deadline exceeded after 10.001s,waiting for name resolution';
    expect(asSeen({ code: Code.DEADLINE_EXCEEDED, details })).toMatchObject({
      kind: 'unavailable',
      message: 'm1 cannot be reached: its name could not be resolved in time',
    });
    expect(asSeen({ code: Code.DEADLINE_EXCEEDED, details: 'Deadline exceeded after 1s' })).toMatchObject({
      kind: 'deadline',
    });
  });
});
