import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import { isKind } from '../lib/errors.ts';
import { formatAddress, parseAddress } from './address.ts';
import { createClient } from './client.ts';
import { ConnectionError, DaemonError } from './errors.ts';
import { demultiplex, jsonLines } from './streams.ts';

async function* chunks(...parts: Buffer[]) {
  yield* parts;
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const result: T[] = [];
  for await (const item of source) result.push(item);
  return result;
}

function frame(stream: number, text: string): Buffer {
  const header = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(Buffer.byteLength(text), 4);
  return Buffer.concat([header, Buffer.from(text)]);
}

describe('streams', () => {
  test('frames come out whole, however the bytes are cut', async () => {
    const bytes = Buffer.concat([frame(1, 'one\n'), frame(2, 'two\n'), frame(1, '')]);
    for (let size = 1; size <= bytes.length; size++) {
      const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
        bytes.subarray(index * size, (index + 1) * size),
      );
      const frames = await all(demultiplex(chunks(...parts)));
      expect(frames.map(({ stream, payload }) => [stream, payload.toString()])).toEqual([
        ['stdout', 'one\n'],
        ['stderr', 'two\n'],
        ['stdout', ''],
      ]);
    }
  });

  test('an error frame, a cut frame and nonsense are errors', async () => {
    await expect(all(demultiplex(chunks(frame(3, 'broken'))))).rejects.toThrow('error from daemon in stream: broken');
    await expect(all(demultiplex(chunks(frame(1, 'abc').subarray(0, 9))))).rejects.toThrow('in the middle of a frame');
    await expect(all(demultiplex(chunks(Buffer.from('HTTP/1.1 200'))))).rejects.toThrow('log stream');
  });

  test('JSON lines may be cut inside a character', async () => {
    const bytes = Buffer.from('{"a":"ü"}\n{"b":1}');
    expect(await all(jsonLines(chunks(bytes.subarray(0, 7), bytes.subarray(7))))).toEqual([{ a: 'ü' }, { b: 1 }]);
  });
});

describe('addresses', () => {
  test.each([
    ['unix:///a/b.sock', 'unix:///a/b.sock'],
    ['/a/b.sock', 'unix:///a/b.sock'],
    ['tcp://h:1/base/', 'tcp://h:1/base'],
    ['tcp://[::1]:9', 'tcp://[::1]:9'],
    ['http://h', 'tcp://h:2375'],
  ])('%s', (text, canonical) => expect(formatAddress(parseAddress(text))).toBe(canonical));

  test.each(['', 'unix://', 'ssh://x', 'tcp://', 'tcp://h:0', 'h:1'])('%j is refused', (text) => {
    expect(() => parseAddress(text)).toThrow('unable to parse host');
  });
});

describe('the client over TCP', () => {
  test('keeps the connection, sends JSON, reads error bodies by status', async () => {
    let connections = 0;
    const server = createServer((request, response) => {
      request.resume();
      if (request.url === '/base/v1.50/info') return response.end('{"Swarm":{}}');
      response.statusCode = Number(/services\/(\d+)/.exec(request.url ?? '')?.[1] ?? 500);
      return response.end('{"message":"because"}');
    });
    server.on('connection', () => connections++);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const client = createClient({ host: `tcp://127.0.0.1:${port}/base` });
    try {
      expect(await client.info()).toEqual({ Swarm: {} });
      const kinds = [
        ['400', 'invalid'],
        ['404', 'not_found'],
        ['409', 'already_exists'],
        ['501', 'unimplemented'],
        ['503', 'unavailable'],
        ['500', 'internal'],
      ] as const;
      for (const [status, kind] of kinds) {
        const error = await client.service(status).catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(DaemonError);
        expect([isKind(error, kind), (error as Error).message]).toEqual([true, 'because']);
      }
      expect(connections).toBe(1);
    } finally {
      client.close();
      server.close();
    }
    const error = await createClient({ host: `tcp://127.0.0.1:${port}` })
      .ping()
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConnectionError);
    expect((error as ConnectionError).sent).toBe(false);
  });
});
