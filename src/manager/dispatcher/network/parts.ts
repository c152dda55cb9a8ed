import type {
  EndpointRecord,
  NetworkRecord,
  NetworkSet,
  PeerRecord,
  SelfRecord,
  ServiceRecord,
} from '../../../model/network.ts';

/** What one set says, before it is cut into messages. */
export interface Contents {
  self?: SelfRecord;
  peers: PeerRecord[];
  removedPeers: string[];
  networks: NetworkRecord[];
  removedNetworks: string[];
  endpoints: EndpointRecord[];
  removedEndpoints: string[];
  services: ServiceRecord[];
  removedServices: string[];
}

/** A part is full with this much payload, roughly measured. */
const partBytesMax = 500_000;
const idBytes = 40;
const recordBytes = 250;
const addressBytes = 80;

export function emptyContents(): Contents {
  return {
    peers: [],
    removedPeers: [],
    networks: [],
    removedNetworks: [],
    endpoints: [],
    removedEndpoints: [],
    services: [],
    removedServices: [],
  };
}

function isEmpty({ self, ...lists }: Contents): boolean {
  return self === undefined && Object.values(lists).every((list: readonly unknown[]) => list.length === 0);
}

export type Part = Contents & Pick<NetworkSet, 'more'>;

/** What there is to say, in parts of bounded size; all but the last say that more follow. Nothing to say: no part. */
export function partsOf(contents: Contents): readonly Part[] {
  const { self, ...lists } = contents;
  if (bytesOfAll(lists) <= partBytesMax) return isEmpty(contents) ? [] : [contents];
  let part = emptyContents();
  const parts = [part];
  let bytes = 0;
  for (const [name, items] of Object.entries(lists) as [keyof typeof lists, readonly Item[]][]) {
    for (const item of items) {
      const itemBytes = bytesOf(item);
      if (bytes + itemBytes > partBytesMax && bytes > 0) {
        part = emptyContents();
        parts.push(part);
        bytes = 0;
      }
      bytes += itemBytes;
      (part[name] as Item[]).push(item);
    }
  }
  return parts.map((one, at) => ({
    ...one,
    ...(at === 0 && self !== undefined ? { self } : {}),
    ...(at < parts.length - 1 ? { more: true } : {}),
  }));
}

type Item = string | PeerRecord | NetworkRecord | EndpointRecord | ServiceRecord;

function bytesOfAll(lists: Omit<Contents, 'self'>): number {
  let bytes = 0;
  for (const items of Object.values(lists) as (readonly Item[])[]) for (const item of items) bytes += bytesOf(item);
  return bytes;
}

function bytesOf(item: Item): number {
  if (typeof item === 'string') return idBytes;
  if ('taskId' in item) return recordBytes + addressBytes * item.attachments.length + charsOf(item.names);
  if ('ports' in item) {
    const aliases = item.networks.reduce((sum, network) => sum + charsOf(network.aliases), 0);
    return recordBytes + addressBytes * (item.networks.length + item.ports.length) + aliases;
  }
  if (!('vni' in item)) return recordBytes;
  const reserved = item.subnets.reduce((sum, subnet) => sum + 1 + (subnet.reserved?.length ?? 0), 0);
  return recordBytes + addressBytes * reserved + charsOf(Object.entries(item.options).flat());
}

function charsOf(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + text.length + 3, 0);
}
