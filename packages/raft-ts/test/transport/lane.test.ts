import { EventEmitter } from 'node:events';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { VirtualRuntime } from '../../src/sim/index.ts';
import { Callers } from '../../src/transport/grpc/callers.ts';
import { encodeCredit } from '../../src/transport/grpc/frames.ts';
import { Lane } from '../../src/transport/grpc/lane.ts';

/** A stream as far as a lane uses one. */
class FakeStream extends EventEmitter {
  readonly written: Buffer[] = [];
  cancelled = false;

  write(frame: Buffer): boolean {
    this.written.push(frame);
    return true;
  }

  cancel(): void {
    this.cancelled = true;
  }
}

function lane(options: { readonly outstandingBytesMax?: number } = {}) {
  const runtime = new VirtualRuntime({ seed: 1, settle: () => Promise.resolve() });
  const streams: FakeStream[] = [];
  const openedMs: number[] = [];
  const state = { unreachable: 0 };
  const connect = () => {
    const stream = new FakeStream();
    streams.push(stream);
    openedMs.push(runtime.now());
    return stream as unknown as ClientDuplexStream<Buffer, Buffer>;
  };
  const unreachable = () => {
    state.unreachable += 1;
  };
  const opened = new Lane({
    runtime,
    connect,
    unreachable,
    outstandingBytesMax: 1000,
    reconnectMinMs: 100,
    reconnectMaxMs: 1000,
    ...options,
  });
  return { lane: opened, runtime, streams, openedMs, state };
}

describe('a lane', () => {
  test('connects on the first send only', () => {
    const { lane: opened, streams } = lane();
    expect(streams).toHaveLength(0);
    opened.send(Buffer.alloc(10));
    opened.send(Buffer.alloc(10));
    expect(streams).toHaveLength(1);
    expect(streams[0]?.written).toHaveLength(2);
  });

  test('drops and reports beyond its bound, and takes more after credit', () => {
    const { lane: opened, streams, state } = lane();
    for (let i = 0; i < 5; i++) opened.send(Buffer.alloc(400));
    expect(streams[0]?.written).toHaveLength(2);
    expect(state.unreachable).toBe(3);
    streams[0]?.emit('data', encodeCredit(400));
    opened.send(Buffer.alloc(400));
    expect(streams[0]?.written).toHaveLength(3);
    expect(state.unreachable).toBe(3);
  });

  test('lets one frame above the bound travel alone', () => {
    const { lane: opened, streams, state } = lane();
    opened.send(Buffer.alloc(5000));
    opened.send(Buffer.alloc(1));
    expect(streams[0]?.written).toHaveLength(1);
    expect(state.unreachable).toBe(1);
  });

  test('credit for more than was sent gains the receiver nothing', () => {
    const { lane: opened, streams, state } = lane();
    opened.send(Buffer.alloc(400));
    streams[0]?.emit('data', encodeCredit(1_000_000));
    for (let i = 0; i < 4; i++) opened.send(Buffer.alloc(400));
    expect(streams[0]?.written).toHaveLength(3);
    expect(state.unreachable).toBe(2);
  });

  test('reconnects with pauses that double up to their limit, and start small again once something got through', async () => {
    const { lane: opened, runtime, streams, openedMs, state } = lane();
    const pauses = async () => {
      const from = openedMs.length;
      for (let broken = 0; broken < 6; broken++) {
        const count = streams.length;
        while (streams.length === count) {
          opened.send(Buffer.alloc(1));
          if (streams.length === count) await runtime.advance(50);
        }
        streams.at(-1)?.emit('error', new Error('refused'));
      }
      return openedMs.slice(from).map((ms, i, all) => ms - (all[i - 1] ?? ms));
    };
    expect(await pauses()).toEqual([0, 100, 200, 400, 800, 1000]);
    expect(state.unreachable).toBeGreaterThan(6);
    await runtime.advance(1000);
    opened.send(Buffer.alloc(1));
    streams.at(-1)?.emit('data', encodeCredit(1));
    streams.at(-1)?.emit('end');
    await runtime.advance(100);
    const count = streams.length;
    opened.send(Buffer.alloc(1));
    expect(streams).toHaveLength(count + 1);
  });

  test('gives up a stream that answers nonsense', () => {
    const { lane: opened, streams, state } = lane();
    opened.send(Buffer.alloc(1));
    streams[0]?.emit('data', Buffer.from([0xff, 0xff, 0xff]));
    expect(streams[0]?.cancelled).toBe(true);
    expect(state.unreachable).toBe(1);
  });

  test('ignores what an earlier stream says late', () => {
    const { lane: opened, streams, state } = lane();
    opened.send(Buffer.alloc(1));
    streams[0]?.emit('error', new Error('refused'));
    streams[0]?.emit('end');
    streams[0]?.emit('data', encodeCredit(5));
    expect(state.unreachable).toBe(1);
  });

  test('does nothing more once it is closed', () => {
    const { lane: opened, streams, state } = lane();
    opened.send(Buffer.alloc(1));
    opened.close();
    opened.close();
    expect(streams[0]?.cancelled).toBe(true);
    streams[0]?.emit('error', new Error('cancelled'));
    opened.send(Buffer.alloc(1));
    expect(streams).toHaveLength(1);
    expect(state.unreachable).toBe(1);
  });
});

describe('callers', () => {
  test('of one peer are bounded: the oldest go', () => {
    const callers = new Callers<string>(2, 10);
    for (const call of ['a', 'b', 'c', 'd']) callers.enter(1, call);
    expect(callers.surplus(1)).toEqual(['a', 'b']);
    expect(callers.surplus(1)).toEqual([]);
    expect(callers.takeAll()).toEqual(['c', 'd']);
  });

  test('of many nodes are bounded: the newest are refused until somebody leaves', () => {
    const callers = new Callers<string>(2, 2);
    expect([1, 2, 3].map((from) => callers.enter(from, String(from)))).toEqual([true, true, false]);
    expect(callers.enter(1, 'again')).toBe(true);
    callers.leave('2');
    expect(callers.enter(3, '3')).toBe(true);
  });
});
