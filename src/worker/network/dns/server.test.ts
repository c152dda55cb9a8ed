import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { decode, encode } from 'dns-packet';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../lib/log.ts';
import { seededRandom } from '../../../lib/random.ts';
import { VirtualClock } from '../../../lib/testing/virtual-clock.ts';
import { Forwarder, forwardLimits, upstreamLimitMs } from './forward.ts';
import { udpBytesMax } from './message.ts';
import { changesBetween, Deriver, noRecords } from './records.ts';
import { NameServer, tcpLimits } from './server.ts';
import {
  type Asking,
  ask,
  desired,
  endpoint,
  exchangeTcp,
  exchangeUdp,
  network,
  type QuestionType,
  question,
  read,
  sandbox,
  service,
} from './testing/state.ts';
import { ttl, Zone } from './zone.ts';

const asker = '127.0.5.2';
const internalAsker = '127.0.5.3';
const settled = '127.0.5.4';
const [first, second, third, fourth] = ['127.0.6.1', '127.0.6.2', '127.0.6.3', '127.0.6.4'];

let clock: VirtualClock;
let server: NameServer;
let closing: (() => void)[] = [];
let hostResolvers: readonly string[] = [];
let upstreamPort = 0;

beforeEach(async () => {
  clock = new VirtualClock();
  hostResolvers = [];
  upstreamPort = await freePort();
  const zone = new Zone();
  const many = Array.from({ length: 60 }, (_, n) => endpoint(`m${n}`, 'many', { net: [`10.0.2.${n + 1}/24`] }));
  const state = desired({
    sandboxes: [
      sandbox('t1', asker, ['net']),
      sandbox('t2', internalAsker, ['inside']),
      sandbox('t3', settled, ['net']),
    ],
    networks: [network('net', ['10.0.0.0/16', 'fd00::/64']), network('inside', ['10.5.0.0/24'], { internal: true })],
    services: [
      service('web', { net: ['10.0.1.2/24'] }),
      service('six', { net: ['10.0.1.3/24', 'fd00::3/64'] }),
      service('many', { net: ['10.0.1.4/24'] }),
    ],
    endpoints: [...many, endpoint('w', 'web', { net: ['10.0.1.9/24'] })],
  });
  zone.apply(changesBetween(noRecords, new Deriver().records(state)));
  const own = zone.asker(settled);
  if (own !== undefined) zone.apply({ askers: { put: [{ ...own, resolvers: [String(second)] }] } });
  const random = seededRandom(7);
  const forwarder = new Forwarder({ clock, random, hostResolvers: () => hostResolvers, port: upstreamPort });
  server = await NameServer.listen({ clock, log: silentLog, random, forwarder, zone: () => zone }, '127.0.5.1', 0);
});

afterEach(async () => {
  for (const close of closing) close();
  closing = [];
  await server.close();
});

const from = (address: string): Asking => ({ server: '127.0.5.1', port: server.port, from: address });

async function freePort(): Promise<number> {
  const socket = createSocket('udp4');
  socket.bind(0, first);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

/** A resolver that does what it is told with each query. */
async function upstream(
  address: string,
  handle: (query: Buffer, reply: (answer: Buffer) => void, from: RemoteInfo) => void,
): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('message', (query, source) =>
    handle(query, (answer) => socket.send(answer, source.port, source.address), source),
  );
  socket.bind(upstreamPort, address);
  await once(socket, 'listening');
  closing.push(() => socket.close());
  return socket;
}

function answerTo(query: Buffer, data: string, flags = 0): Buffer {
  const { id = 0, questions = [] } = decode(query);
  const answers = [{ type: 'A' as const, name: questions[0]?.name ?? '', data, ttl: 77 }];
  return encode({ type: 'response', id, flags: 0x0180 | flags, questions, answers: data === '' ? [] : answers });
}

describe('names of the cluster', () => {
  test('are answered over UDP with authority and a short life', async () => {
    const { code, data, packet } = await ask(from(asker), 'WEB.net-name');
    expect([code, data]).toEqual(['NOERROR', ['10.0.1.2']]);
    expect([packet.id, packet.flag_aa, packet.flag_ra, packet.flag_rd, packet.flag_tc]).toEqual([
      4711,
      true,
      true,
      true,
      false,
    ]);
    expect(packet.questions?.[0]?.name).toBe('WEB.net-name');
    expect(packet.answers?.[0]).toMatchObject({ name: 'WEB.net-name', ttl: ttl.virtual });
    const tasks = await ask(from(asker), 'tasks.web');
    expect(tasks.packet.answers?.[0]).toMatchObject({ data: '10.0.1.9', ttl: ttl.task });
  });

  test.each<[string, QuestionType, readonly string[]]>([
    ['six', 'AAAA', ['fd00::3']],
    ['six', 'A', ['10.0.1.3']],
    ['web', 'AAAA', []],
    ['web', 'MX', []],
    ['web', 'TXT', []],
    ['web', 'SRV', []],
    ['web', 'ANY', []],
    ['2.1.0.10.in-addr.arpa', 'PTR', ['web.net-name']],
    ['2.1.0.10.in-addr.arpa', 'A', []],
  ])('%s %s has these records, and nobody else is asked', async (name, type, data) => {
    const asked: Buffer[] = [];
    await upstream(first ?? '', (query) => asked.push(query));
    hostResolvers = [first ?? ''];
    const told = await ask(from(asker), name, type);
    expect([told.code, told.data, told.packet.flag_aa]).toEqual(['NOERROR', data, true]);
    expect(asked).toEqual([]);
  });

  test('an address of the network that is nobody’s has no name', async () => {
    expect((await ask(from(asker), '99.9.0.10.in-addr.arpa', 'PTR')).code).toBe('NXDOMAIN');
  });

  test('someone who is no container of this node is refused, over UDP and TCP', async () => {
    expect((await ask(from('127.0.5.99'), 'web')).code).toBe('REFUSED');
    const [answer] = await exchangeTcp(from('127.0.5.99'), [question('web')]);
    expect(answer && read(answer).code).toBe('REFUSED');
  });

  test('what does not fit is cut off with a mark, and told completely over TCP', async () => {
    const plain = await exchangeUdp(from(asker), question('tasks.many'));
    const cut = read(plain ?? Buffer.alloc(0));
    expect([plain?.length, cut.packet.flag_tc, cut.data.length]).toEqual([508, true, 30]);
    const opt = {
      type: 'OPT',
      name: '.',
      udpPayloadSize: 4096,
      extendedRcode: 0,
      ednsVersion: 0,
      flags: 0,
      flag_do: false,
      options: [],
    };
    const extended = question('tasks.many', 'A', { additionals: [opt as never] });
    const large = await exchangeUdp(from(asker), extended);
    const whole = read(large ?? Buffer.alloc(0));
    expect([whole.packet.flag_tc, new Set(whole.data).size]).toEqual([false, 60]);
    expect(large?.length).toBeLessThanOrEqual(udpBytesMax);
    expect(whole.packet.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: udpBytesMax }]);
    const [stream] = await exchangeTcp(from(asker), [question('tasks.many')]);
    expect(stream && [read(stream).packet.flag_tc, read(stream).data.length]).toEqual([false, 60]);
  });

  test('addresses come in another order each time', async () => {
    const orders = new Set<string>();
    for (let n = 0; n < 5; n++) {
      const [answer] = await exchangeTcp(from(asker), [question('tasks.many')]);
      const { answers = [] } = decode(answer ?? Buffer.alloc(0));
      orders.add(answers.map((each) => ('data' in each ? each.data : '')).join(' '));
    }
    expect(orders.size).toBe(5);
  });

  test('an unknown version of EDNS and other operations are told so', async () => {
    const opt = {
      type: 'OPT',
      name: '.',
      udpPayloadSize: 1232,
      extendedRcode: 0,
      ednsVersion: 1,
      flags: 0,
      flag_do: false,
      options: [],
    };
    const answer = await exchangeUdp(from(asker), question('web', 'A', { additionals: [opt as never] }));
    expect(read(answer ?? Buffer.alloc(0)).packet.additionals).toMatchObject([{ extendedRcode: 1, ednsVersion: 0 }]);
    const update = question('web');
    update.writeUInt16BE(5 << 11, 2);
    const refused = await exchangeUdp(from(asker), update);
    expect([refused?.length, (refused?.[3] ?? 0) & 15]).toEqual([12, 4]);
  });
});

describe('hostile packets', () => {
  const stillThere = async () => expect((await ask(from(asker), 'web')).data).toEqual(['10.0.1.2']);

  test('are refused or not answered, and the server goes on', async () => {
    const bytes = fc.uint8Array({ maxLength: 600 });
    const mutated = fc
      .tuple(
        fc.constantFrom('web', 'tasks.many', '2.1.0.10.in-addr.arpa', 'x'.repeat(63)),
        fc.array(fc.tuple(fc.nat({ max: 60 }), fc.nat({ max: 255 }))),
      )
      .map(([name, changes]) => {
        const packet = question(name);
        for (const [at, value] of changes) packet[at % packet.length] = value;
        return packet;
      });
    const packets = fc.sample(
      fc.oneof(
        bytes.map((each) => Buffer.from(each)),
        mutated,
      ),
      { seed: 11, numRuns: 1_000 },
    );
    const socket = createSocket('udp4');
    closing.push(() => socket.close());
    socket.bind(0, asker);
    await once(socket, 'listening');
    let answered = 0;
    socket.on('message', (message) => {
      answered++;
      expect(message.length).toBeGreaterThanOrEqual(12);
    });
    for (const [at, packet] of packets.entries()) {
      await new Promise((resolve) => socket.send(packet, server.port, '127.0.5.1', resolve));
      // Not more at a time than a socket holds.
      if (at % 20 === 0) await stillThere();
    }
    await stillThere();
    expect(answered).toBeGreaterThan(100);
  });

  test('a packet full of pointers costs nothing', async () => {
    const packet = Buffer.alloc(4_000, 0xc0);
    packet.writeUInt16BE(0x0100, 2);
    packet.writeUInt16BE(1, 4);
    packet.writeUInt16BE(0, 6);
    packet.writeUInt16BE(0, 8);
    packet.writeUInt16BE(2, 10);
    const answer = await exchangeUdp(from(asker), packet);
    expect((answer?.[3] ?? 0) & 15).toBe(1);
  });

  test('answers and scraps are not answered at all', async () => {
    const answer = question('web');
    answer.writeUInt16BE(0x8180, 2);
    expect(await exchangeUdp(from(asker), answer, 50)).toBeUndefined();
    expect(await exchangeUdp(from(asker), Buffer.from([1, 2, 3]), 50)).toBeUndefined();
    await stillThere();
  });
});

describe('TCP', () => {
  test('many questions at once are all answered', async () => {
    const answers = await exchangeTcp(
      from(asker),
      Array.from({ length: 100 }, () => question('tasks.many')),
    );
    expect(answers.map((answer) => read(answer).data.length)).toEqual(Array.from({ length: 100 }, () => 60));
  });

  test('a message in pieces is one message', async () => {
    const socket = connect({ host: '127.0.5.1', port: server.port, localAddress: asker });
    const packet = question('web');
    const framed = Buffer.concat([Buffer.of(0, packet.length), packet]);
    socket.setNoDelay(true);
    for (const byte of framed) {
      await new Promise((resolve) => socket.write(Buffer.of(byte), resolve));
    }
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(read(answer.subarray(2)).data).toEqual(['10.0.1.2']);
    socket.destroy();
  });

  test('an asker that has said all still gets its answer', async () => {
    let reply: (() => void) | undefined;
    const asked = new Promise<void>((resolve) => {
      void upstream(first ?? '', (query, send) => {
        reply = () => send(answerTo(query, '192.0.2.5'));
        resolve();
      }).then(() => {
        hostResolvers = [first ?? ''];
        const packet = question('example.com');
        const socket = connect({ host: '127.0.5.1', port: server.port, localAddress: asker, allowHalfOpen: true });
        socket.end(Buffer.concat([Buffer.of(0, packet.length), packet]));
        answered = once(socket, 'data') as Promise<[Buffer]>;
      });
    });
    let answered: Promise<[Buffer]> = Promise.reject(new Error('not asked'));
    answered.catch(() => {});
    await asked;
    reply?.();
    expect(read((await answered)[0].subarray(2)).data).toEqual(['192.0.2.5']);
  });

  test('silence, endless messages and too many connections are ended', async () => {
    const open = () => connect({ host: '127.0.5.1', port: server.port, localAddress: asker });
    const sockets = Array.from({ length: tcpLimits.perAsker }, open);
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    const surplus = open();
    surplus.on('error', () => {});
    await once(surplus, 'close');
    const [endless, ...silent] = sockets;
    endless?.write(Buffer.of(0xff, 0xff, 1));
    if (endless !== undefined) await once(endless, 'close');
    const ended = Promise.all(silent.map((socket) => once(socket.resume(), 'close')));
    await clock.advance(tcpLimits.idleMs - 1);
    expect(silent.every(({ closed }) => !closed)).toBe(true);
    await clock.advance(1);
    await ended;
    expect((await exchangeTcp(from(asker), [question('web')])).length).toBe(1);
  });
});

describe('other names', () => {
  test('are asked for elsewhere as they came, with another id, and the answer is passed on as it came', async () => {
    const asked: Buffer[] = [];
    await upstream(first ?? '', (query, reply) => {
      asked.push(query);
      reply(Buffer.concat([answerTo(query, '192.0.2.1'), Buffer.from('what nobody understands')]));
    });
    hostResolvers = [first ?? ''];
    const packet = Buffer.concat([question('Example.COM'), Buffer.alloc(0)]);
    const answer = await exchangeUdp(from(asker), packet);
    expect(answer?.readUInt16BE(0)).toBe(4711);
    expect(answer?.subarray(-23).toString()).toBe('what nobody understands');
    expect(asked[0]?.subarray(2).equals(packet.subarray(2))).toBe(true);
    expect(asked[0]?.readUInt16BE(0)).not.toBe(4711);
  });

  test('each question goes out with an id and a port of its own', async () => {
    const seen = new Set<string>();
    await upstream(first ?? '', (query, reply, source) => {
      seen.add(`${source.port} ${query.readUInt16BE(0)}`);
      reply(answerTo(query, '192.0.2.1'));
    });
    hostResolvers = [first ?? ''];
    for (let n = 0; n < 20; n++) await ask(from(asker), 'example.com');
    expect(new Set([...seen].map((each) => each.split(' ')[0])).size).toBeGreaterThan(10);
    expect(new Set([...seen].map((each) => each.split(' ')[1])).size).toBe(20);
  });

  test('an answer with another id, another question, or from somebody else does not count', async () => {
    const stranger = createSocket('udp4');
    stranger.bind(upstreamPort, second);
    await once(stranger, 'listening');
    closing.push(() => stranger.close());
    await upstream(first ?? '', (query, reply, source) => {
      const forged = answerTo(query, '192.0.2.66');
      forged.writeUInt16BE((query.readUInt16BE(0) + 1) & 0xffff, 0);
      reply(forged);
      const other = Buffer.from(answerTo(query, '192.0.2.66'));
      other[13] = 'X'.charCodeAt(0);
      reply(other);
      stranger.send(answerTo(query, '192.0.2.66'), source.port, source.address, () =>
        reply(answerTo(query, '192.0.2.1')),
      );
    });
    hostResolvers = [first ?? ''];
    expect((await ask(from(asker), 'example.com')).data).toEqual(['192.0.2.1']);
  });

  test('resolvers are asked in order: one that is silent after four seconds, one that fails at once', async () => {
    const order: string[] = [];
    let silentAsked = () => {};
    const waiting = new Promise<void>((resolve) => {
      silentAsked = resolve;
    });
    await upstream(first ?? '', () => {
      order.push('silent');
      silentAsked();
    });
    await upstream(second ?? '', (query, reply) => {
      order.push('failing');
      reply(answerTo(query, '', 2));
    });
    await upstream(third ?? '', (query, reply) => {
      order.push('good');
      reply(answerTo(query, '192.0.2.3'));
    });
    hostResolvers = [first, second, third].map(String);
    const told = ask(from(asker), 'example.com');
    await waiting;
    expect(clock.nextDue()).toBe(upstreamLimitMs);
    await clock.advance(upstreamLimitMs);
    expect((await told).data).toEqual(['192.0.2.3']);
    expect(order).toEqual(['silent', 'failing', 'good']);
  });

  test('a name that does not exist is not asked for again; the fourth resolver never is', async () => {
    const order: string[] = [];
    for (const [address, code] of [
      [first, 2],
      [second, 5],
      [third, 3],
      [fourth, 0],
    ] as const) {
      await upstream(String(address), (query, reply) => {
        order.push(String(address));
        reply(answerTo(query, '', code));
      });
    }
    hostResolvers = [third, fourth].map(String);
    expect((await ask(from(asker), 'example.com')).code).toBe('NXDOMAIN');
    hostResolvers = [first, second, first, fourth].map(String);
    expect((await ask(from(asker), 'example.com')).code).toBe('SERVFAIL');
    expect(order).toEqual([third, first, second, first]);
  });

  test('without a resolver that answers it is a failure', async () => {
    expect((await ask(from(asker), 'example.com')).code).toBe('SERVFAIL');
    // Nobody listens there: the kernel says so at once.
    hostResolvers = [String(fourth)];
    expect((await ask(from(asker), 'example.com')).code).toBe('SERVFAIL');
  });

  test('a container’s own resolvers are asked instead of the host’s', async () => {
    await upstream(first ?? '', (query, reply) => reply(answerTo(query, '192.0.2.1')));
    await upstream(second ?? '', (query, reply) => reply(answerTo(query, '192.0.2.2')));
    hostResolvers = [String(first)];
    expect((await ask(from(asker), 'example.com')).data).toEqual(['192.0.2.1']);
    expect((await ask(from(settled), 'example.com')).data).toEqual(['192.0.2.2']);
  });

  test('are never asked for by a container whose networks are all internal', async () => {
    const asked: Buffer[] = [];
    await upstream(first ?? '', (query) => asked.push(query));
    hostResolvers = [String(first)];
    expect((await ask(from(internalAsker), 'secret.example.com')).code).toBe('SERVFAIL');
    expect(asked).toEqual([]);
  });

  test('over TCP a truncated answer is asked for again over TCP', async () => {
    await upstream(first ?? '', (query, reply) => reply(answerTo(query, '192.0.2.1', 0x0200)));
    const whole = createServer((socket) => {
      socket.on('data', (chunk) => {
        const answer = answerTo(chunk.subarray(2), '192.0.2.200');
        socket.write(Buffer.concat([Buffer.of(0, answer.length), answer]));
      });
    });
    whole.listen(upstreamPort, first);
    await once(whole, 'listening');
    closing.push(() => whole.close());
    hostResolvers = [String(first)];
    expect((await ask(from(asker), 'example.com')).packet.flag_tc).toBe(true);
    const [answer] = await exchangeTcp(from(asker), [question('example.com')]);
    expect(answer && read(answer).data).toEqual(['192.0.2.200']);
  });

  test('one container has a bounded number of questions under way; others and the cluster’s names are not held up', async () => {
    const waiting: (() => void)[] = [];
    let full = () => {};
    const all = new Promise<void>((resolve) => {
      full = resolve;
    });
    await upstream(first ?? '', (query, reply) => {
      waiting.push(() => reply(answerTo(query, '192.0.2.1')));
      if (waiting.length === forwardLimits.perAsker) full();
    });
    hostResolvers = [String(first)];
    const socket = createSocket('udp4');
    closing.push(() => socket.close());
    socket.bind(0, asker);
    await once(socket, 'listening');
    for (let n = 0; n < forwardLimits.perAsker; n++) {
      await new Promise((resolve) => socket.send(question('example.com'), server.port, '127.0.5.1', resolve));
    }
    await all;
    expect((await ask(from(asker), 'example.org')).code).toBe('SERVFAIL');
    expect((await ask(from(asker), 'web')).data).toEqual(['10.0.1.2']);
    await upstream(second ?? '', (query, reply) => reply(answerTo(query, '192.0.2.2')));
    expect((await ask(from(settled), 'example.org')).data).toEqual(['192.0.2.2']);
    for (const answer of waiting) answer();
  });
});
