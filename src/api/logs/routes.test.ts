import { describe, expect, test } from 'vitest';
import { selfId, TestApi, web } from '../testing/fake-node.ts';

async function withLogs() {
  const api = await TestApi.make();
  const id = await api.service(web());
  await api.node.addTask('t1', id);
  api.node.logLines = [
    { taskId: 't1', stream: 'stdout', time: '2026-01-02T03:04:05.000000006Z', text: 'hello\n' },
    { taskId: 't1', stream: 'stderr', time: '2026-01-02T03:04:06.000000000Z', text: 'oops\n' },
  ];
  return { api, id };
}

/** Undoes Docker's framing. */
function frames(raw: Buffer): [number, string][] {
  const found: [number, string][] = [];
  for (let at = 0; at < raw.length; ) {
    const length = raw.readUInt32BE(at + 4);
    found.push([raw[at] ?? 0, raw.subarray(at + 8, at + 8 + length).toString()]);
    at += 8 + length;
  }
  return found;
}

describe('logs', () => {
  test('are framed, one frame per line', async () => {
    const { api } = await withLogs();
    const { raw, headers } = await api.get('/v1.50/services/web/logs?stdout=1&stderr=1');
    expect(headers['content-type']).toBe('application/vnd.docker.multiplexed-stream');
    expect(frames(raw)).toEqual([
      [1, 'hello\n'],
      [2, 'oops\n'],
    ]);
    const old = await api.get('/v1.41/tasks/t1/logs?stdout=1');
    expect(old.headers['content-type']).toBe('application/vnd.docker.raw-stream');
  });

  test('carry time and details as the CLI wants them', async () => {
    const { api, id } = await withLogs();
    const { raw } = await api.get('/services/web/logs?stdout=1&timestamps=1&details=1');
    expect(frames(raw)[0]?.[1]).toBe(
      `2026-01-02T03:04:05.000000006Z com.docker.swarm.node.id=${selfId},com.docker.swarm.service.id=${id},com.docker.swarm.task.id=t1 hello\n`,
    );
  });

  test('are raw for a service with a terminal', async () => {
    const { api } = await withLogs();
    const id = await api.service({ Name: 'tty', TaskTemplate: { ContainerSpec: { Image: 'nginx', TTY: true } } });
    const { raw } = await api.get(`/services/${id}/logs?stdout=1`);
    expect(raw.toString()).toBe('hello\noops\n');
  });

  test.each(['x', '5x', '1e3'])('refuse a tail of %s', async (tail) => {
    const { api } = await withLogs();
    const answer = await api.get(`/services/web/logs?stdout=1&tail=${tail}`);
    expect([answer.status, answer.body['message']]).toEqual([
      400,
      `invalid tail: "${tail}" is neither a number of lines nor "all"`,
    ]);
  });

  test('pass the query on', async () => {
    const { api } = await withLogs();
    await api.get('/services/web/logs?stdout=1&follow=1&tail=7&since=100.5&until=2026-01-01T00:00:00Z');
    expect(api.node.logQueries).toEqual([
      { stdout: true, stderr: false, follow: true, tail: 7, since: 100_500, until: Date.UTC(2026, 0, 1) },
    ]);
    await api.get('/services/web/logs?stderr=1&tail=all');
    expect(api.node.logQueries[1]).toMatchObject({ stdout: false, stderr: true, follow: false, tail: -1, since: 0 });
  });

  test.each([
    ['/services/nope/logs?stdout=1', 404, 'service nope not found'],
    ['/services/web/logs', 400, 'Bad parameters: you must choose at least one stream'],
    ['/services/web/logs?stdout=1&since=x', 400, 'invalid value for "since": "x" is not a time'],
  ])('%s is refused', async (url, status, message) => {
    const { api } = await withLogs();
    const answer = await api.get(url);
    expect([answer.status, answer.body]).toEqual([status, { message }]);
  });

  test('a failure after the start is told in the stream', async () => {
    const { api } = await withLogs();
    api.node.logLines = undefined as never;
    const { raw } = await api.get('/services/web/logs?stdout=1');
    expect(frames(raw)[0]?.[0]).toBe(3);
  });
});
