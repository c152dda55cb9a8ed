/** What a container is told: the cluster's own names from the zone, everything else for someone else to answer. Pure. */
import type { Random } from '../../../lib/random.ts';
import { addressData, pointerData, type Query, type Reply, rcode, recordType } from './message.ts';
import type { AskerRecord } from './records.ts';
import { type Addresses, ttl, type Zone } from './zone.ts';

/** `forward`: not ours. */
export function resolve(zone: Zone, asker: AskerRecord, query: Query, random: Random): Reply | 'forward' {
  if (query.edns !== undefined && query.edns.version > 0) return { rcode: rcode.badVersion };
  if (!query.isInternet) return 'forward';
  const found = zone.addresses(asker, query.name);
  // Of a name of ours everything is known: another type of record is "none", never a question for others.
  if (found !== undefined) return addressReply(found, query.type, random);
  const pointer = zone.pointer(asker, query.name);
  if (pointer === undefined) return 'forward';
  if (pointer.name === undefined) return { rcode: rcode.unknownName, authoritative: true };
  const data = query.type === recordType.ptr ? pointerData(pointer.name) : undefined;
  return {
    rcode: rcode.ok,
    records: data === undefined ? [] : [data],
    ttlSeconds: ttl.task,
    authoritative: true,
  };
}

function addressReply({ v4, v6, ttlSeconds }: Addresses, type: number, random: Random): Reply {
  const wanted = type === recordType.a ? v4 : type === recordType.aaaa ? v6 : [];
  const records = shuffled(wanted, random).flatMap((address) => addressData(address) ?? []);
  return { rcode: rcode.ok, records, ttlSeconds, authoritative: true };
}

/** Clients that take the first address are spread. */
function shuffled<T>(values: readonly T[], random: Random): T[] {
  const left = [...values];
  const drawn: T[] = [];
  while (left.length > 0) {
    const at = Math.floor((random.uint32() / 2 ** 32) * left.length);
    const last = left.pop();
    const taken = at < left.length ? left[at] : last;
    if (at < left.length && last !== undefined) left[at] = last;
    if (taken !== undefined) drawn.push(taken);
  }
  return drawn;
}
