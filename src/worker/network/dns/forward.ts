/**
 * Asks others for what is not the cluster's. The query goes on as it came, with a new id from a new port, and so does the answer: what
 * this server does not understand is not lost. An answer counts when it comes from the resolver that was asked, with the id and the
 * question. Resolvers are asked in order; a refusal or a failure of one leads to the next.
 */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import type { Clock } from '../../../lib/clock.ts';
import type { Random } from '../../../lib/random.ts';
import { answers, isTruncated, type Query, rcode, rcodeOf, withId, withLength } from './message.ts';

/** As Docker: three resolvers, four seconds each. */
const upstreamsMax = 3;
export const upstreamLimitMs = 4_000;
/** At a time: of all containers, and of one, so that no container keeps the others from being answered. */
export const forwardLimits = { total: 1_024, perAsker: 256 } as const;

export interface ForwarderOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** The host's resolvers. */
  readonly hostResolvers: () => readonly string[];
  /** 53, but for tests. */
  readonly port?: number;
}

export interface ForwardRequest {
  readonly asker: string;
  /** Its own ones; absent: the host's. */
  readonly resolvers: readonly string[] | undefined;
  readonly packet: Buffer;
  readonly query: Query;
  readonly transport: 'udp' | 'tcp';
}

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #perAsker = new Map<string, number>();
  #total = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /** Undefined: nobody answered, or there are too many questions under way. Never rejects. */
  async forward(request: ForwardRequest): Promise<Buffer | undefined> {
    const { asker } = request;
    const own = this.#perAsker.get(asker) ?? 0;
    if (this.#total >= forwardLimits.total || own >= forwardLimits.perAsker) return undefined;
    this.#total++;
    this.#perAsker.set(asker, own + 1);
    try {
      return await this.#askAll(request);
    } finally {
      this.#total--;
      const left = (this.#perAsker.get(asker) ?? 1) - 1;
      if (left > 0) this.#perAsker.set(asker, left);
      else this.#perAsker.delete(asker);
    }
  }

  async #askAll(request: ForwardRequest): Promise<Buffer | undefined> {
    const { resolvers, query, transport } = request;
    let last: Buffer | undefined;
    for (const upstream of (resolvers ?? this.#options.hostResolvers()).slice(0, upstreamsMax)) {
      const asked = await this.#ask('udp', upstream, request);
      // To an asker on TCP a truncated answer is of no use; a resolver without TCP still serves with the rest.
      const whole = asked !== undefined && isTruncated(asked) && transport === 'tcp';
      const answer = whole ? ((await this.#ask('tcp', upstream, request)) ?? asked) : asked;
      if (answer === undefined) continue;
      last = withId(answer, query.id);
      const code = rcodeOf(answer);
      if (code !== rcode.failure && code !== rcode.refused && code !== rcode.unsupported) return last;
    }
    return last;
  }

  #ask(transport: 'udp' | 'tcp', address: string, { packet, query }: ForwardRequest): Promise<Buffer | undefined> {
    const { clock, random, port = 53 } = this.#options;
    const id = random.uint32() & 0xffff;
    const exchange = {
      address,
      port,
      packet: withId(packet, id),
      isAnswer: (answer: Buffer) => answers(answer, id, query.question),
    };
    return transport === 'udp' ? askUdp(clock, exchange) : askTcp(clock, exchange);
  }
}

interface Exchange {
  readonly address: string;
  readonly port: number;
  readonly packet: Buffer;
  readonly isAnswer: (packet: Buffer) => boolean;
}

function askUdp(clock: Clock, { address, port, packet, isAnswer }: Exchange): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    let finished = false;
    const once = (answer?: Buffer) => {
      if (finished) return;
      finished = true;
      cancel();
      socket.close();
      resolve(answer);
    };
    const cancel = clock.timer(upstreamLimitMs, () => once());
    socket.on('error', () => once());
    socket.on('message', (message) => isAnswer(message) && once(message));
    // Connected: the kernel takes packets of this resolver alone, and tells when nobody is there.
    socket.connect(port, address, (error?: Error) => {
      if (error !== undefined) return once();
      if (!finished) socket.send(packet, (failure) => failure && once());
    });
  });
}

function askTcp(clock: Clock, { address, port, packet, isAnswer }: Exchange): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    let received = Buffer.alloc(0);
    const finish = (answer?: Buffer) => {
      cancel();
      socket.destroy();
      resolve(answer);
    };
    const cancel = clock.timer(upstreamLimitMs, () => finish());
    socket.on('error', () => finish());
    socket.on('close', () => finish());
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const message = received.subarray(2, 2 + received.readUInt16BE(0));
      finish(isAnswer(message) ? message : undefined);
    });
    socket.write(withLength(packet));
  });
}
