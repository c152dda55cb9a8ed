/** Another manager, in a process of its own: joins the group, follows, and leads when it is elected. */
import type { Parcel } from './link.ts';
import { type Cost, Meter } from './measure.ts';
import { freeAddress, Member, type MemberInfo } from './member.ts';
import { Sessions } from './sessions.ts';

export type PeerOrder =
  | { readonly kind: 'open'; readonly self: MemberInfo; readonly members: readonly MemberInfo[] }
  | { readonly kind: 'parcels'; readonly parcels: readonly Parcel[] }
  | { readonly kind: 'begin'; readonly phase: string }
  | { readonly kind: 'end' | 'look' | 'census' };

export type PeerNews =
  | { readonly kind: 'address'; readonly addr: string }
  | { readonly kind: 'opened' }
  | { readonly kind: 'leads'; readonly leads: boolean }
  | { readonly kind: 'parcels'; readonly parcels: readonly Parcel[] }
  | { readonly kind: 'begun' }
  | { readonly kind: 'cost'; readonly cost: Cost }
  | { readonly kind: 'seen'; readonly version: number; readonly registered: number }
  | { readonly kind: 'counted'; readonly running: string };

interface Opened {
  readonly member: Member;
  readonly sessions: Sessions;
  readonly meter: Meter;
}

let opened: Opened | undefined;
let end: (() => Promise<Cost>) | undefined;

function tell(news: PeerNews): void {
  // At the end the other side goes first, with news still under way.
  if (process.connected) process.send?.(news, undefined, undefined, () => {});
}

async function open(options: { readonly self: MemberInfo; readonly members: readonly MemberInfo[] }): Promise<void> {
  const member = await Member.open(options);
  const sessions = new Sessions(member.manager.service, (parcels) => tell({ kind: 'parcels', parcels }));
  opened = { member, sessions, meter: new Meter(member) };
  member.raft.onLeadership((leads) => tell({ kind: 'leads', leads }));
  tell({ kind: 'opened' });
}

async function obey(order: PeerOrder): Promise<void> {
  if (order.kind === 'open') return open(order);
  if (opened === undefined) throw new Error(`${order.kind} before open`);
  const { member, sessions, meter } = opened;
  switch (order.kind) {
    case 'parcels':
      return sessions.arrive(order.parcels);
    case 'begin':
      end = meter.begin(order.phase);
      return tell({ kind: 'begun' });
    case 'end':
      if (end !== undefined) tell({ kind: 'cost', cost: await end() });
      return undefined;
    case 'look':
      return tell({ kind: 'seen', version: member.store.view.version, registered: sessions.registered });
    case 'census':
      return tell({ kind: 'counted', running: member.census.fingerprint() });
    default:
      throw new Error('an unknown order');
  }
}

process.on('disconnect', () => {
  const closed = opened?.member.close() ?? Promise.resolve();
  void closed.finally(() => process.exit());
});
process.on('message', (order: PeerOrder) => {
  obey(order).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exit(1);
  });
});
tell({ kind: 'address', addr: await freeAddress() });
