import { describe, expect, test } from 'vitest';
import type { Message } from '../../src/core/index.ts';
import { decodeConfChange, EntryKind, emptyConf, SyncRaft } from '../../src/core/index.ts';
import { Disk } from './disk.ts';
import { Random, wideLimits } from './harness.ts';

class Peer {
  readonly raft: SyncRaft;
  readonly disk: Disk;
  readonly applied: string[] = [];

  constructor(id: number, voters: readonly number[]) {
    this.disk = Disk.founded({ ...emptyConf, voters });
    const config = {
      id,
      electionTicks: 10,
      heartbeatTicks: 1,
      preVote: true,
      checkQuorum: true,
      stepDownOnRemoval: true,
      limits: wideLimits,
      random: new Random(id),
    };
    const conf = { ...emptyConf, voters };
    this.raft = new SyncRaft(config, this.disk, { hardState: this.disk.hardState, conf, applied: 1 });
  }

  work(): Message[] {
    const sent: Message[] = [];
    while (this.raft.hasReady()) {
      const ready = this.raft.ready();
      this.disk.write(ready);
      for (const entry of ready.committed) {
        if (entry.kind === EntryKind.Config) this.raft.core.applyConfChange(decodeConfChange(entry.data), entry);
        else if (entry.data.byteLength > 0) this.applied.push(new TextDecoder().decode(entry.data));
      }
      sent.push(...ready.messages);
      this.raft.advance();
    }
    return sent;
  }
}

function settle(peers: readonly Peer[]): void {
  for (let rounds = 0; rounds < 100; rounds += 1) {
    const messages = peers.flatMap((peer) => peer.work());
    if (messages.length === 0) return;
    for (const message of messages) peers[message.to - 1]?.raft.core.step(message);
  }
  throw new Error('does not settle');
}

describe('sync', () => {
  test('three hosts with one thread each elect, commit and apply', () => {
    const voters = [1, 2, 3];
    const peers = voters.map((id) => new Peer(id, voters));
    peers[0]?.raft.core.campaign();
    settle(peers);
    for (const text of ['a', 'b']) peers[0]?.raft.core.propose([new TextEncoder().encode(text)]);
    settle(peers);
    for (const peer of peers) expect(peer.applied).toEqual(['a', 'b']);
  });

  test('a single voter applies an entry together with its write', () => {
    const peer = new Peer(1, [1]);
    peer.raft.core.campaign();
    settle([peer]);
    expect(peer.raft.core.status()).toMatchObject({ role: 'leader', commit: 2, applied: 2 });
  });

  test('a second Ready before advance, and advance without a Ready, are faults', () => {
    const { raft } = new Peer(1, [1]);
    expect(() => raft.advance()).toThrow('without a Ready');
    raft.core.campaign();
    raft.ready();
    expect(raft.hasReady()).toBe(false);
    expect(() => raft.ready()).toThrow('before advance');
  });
});
