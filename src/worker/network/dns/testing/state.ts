/** Small states, and a client that speaks DNS through a codec that is not ours. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { type DecodedPacket, decode, encode, type Packet } from 'dns-packet';
import { realClock } from '../../../../lib/real.ts';
import {
  type EndpointRecord,
  emptyNetworkState,
  type NetworkRecord,
  type NetworkState,
  type ServiceRecord,
} from '../../../../model/network.ts';
import type { Desired, SandboxRecord } from '../../planes.ts';

export function sandbox(taskId: string, gateway: string, networks: readonly string[]): SandboxRecord {
  return {
    taskId,
    mode: 'own',
    netns: `ns-${taskId}`,
    gateway,
    attachments: networks.map((networkId) => ({ networkId, addresses: [] })),
    hostPorts: [],
    nameservers: [],
  };
}

export function network(id: string, subnets: readonly string[], extra: Partial<NetworkRecord> = {}): NetworkRecord {
  return {
    id,
    name: `${id}-name`,
    driver: 'overlay',
    vni: 4097,
    subnets: subnets.map((subnet) => ({ subnet, gateway: '' })),
    internal: false,
    options: {},
    ...extra,
  };
}

export function service(
  id: string,
  networks: Readonly<Record<string, readonly string[]>>,
  extra: Partial<ServiceRecord> & { readonly aliases?: readonly string[] } = {},
): ServiceRecord {
  const { aliases = [], ...rest } = extra;
  return {
    id,
    name: id,
    mode: 'vip',
    networks: Object.entries(networks).map(([networkId, addresses]) => ({ networkId, addresses, aliases })),
    ports: [],
    ...rest,
  };
}

export function endpoint(
  taskId: string,
  serviceId: string,
  networks: Readonly<Record<string, readonly string[]>>,
  extra: Partial<EndpointRecord> = {},
): EndpointRecord {
  return {
    taskId,
    nodeId: 'node',
    serviceId,
    names: [`${serviceId}.1.${taskId}`],
    attachments: Object.entries(networks).map(([networkId, addresses]) => ({ networkId, addresses })),
    active: true,
    ...extra,
  };
}

export interface Parts {
  readonly sandboxes?: readonly SandboxRecord[];
  readonly networks?: readonly NetworkRecord[];
  readonly services?: readonly ServiceRecord[];
  readonly endpoints?: readonly EndpointRecord[];
  readonly gatewaySubnet?: string;
}

export function desired({
  sandboxes = [],
  networks = [],
  services = [],
  endpoints = [],
  gatewaySubnet,
}: Parts): Desired {
  const self = {
    nodeId: 'node',
    underlay: '192.0.2.1',
    dataPathPort: 4789,
    gatewayPools: [],
    ingressPool: '10.255.0.0/16',
    ingressAddress: '10.255.0.1',
  };
  const state: NetworkState = {
    ...emptyNetworkState,
    version: 1,
    ...(gatewaySubnet === undefined ? {} : { self: { ...self, gatewaySubnet } }),
    networks: new Map(networks.map((record) => [record.id, record])),
    services: new Map(services.map((record) => [record.id, record])),
    endpoints: new Map(endpoints.map((record) => [record.taskId, record])),
  };
  return { sandboxes: new Map(sandboxes.map((record) => [record.taskId, record])), state };
}

export interface Asking {
  readonly server: string;
  readonly port: number;
  /** The address to ask from. */
  readonly from: string;
}

export type QuestionType = 'A' | 'AAAA' | 'PTR' | 'MX' | 'TXT' | 'SRV' | 'ANY';

export function question(name: string, type: QuestionType = 'A', more: Partial<Packet> = {}): Buffer {
  return encode({ type: 'query', id: 4711, flags: 0x0100, questions: [{ name, type: type as 'A' }], ...more });
}

/** Sends one packet from this address; undefined when nothing comes back within the limit. */
export function exchangeUdp(to: Asking, packet: Buffer, limitMs = 2_000): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(to.server.includes(':') ? 'udp6' : 'udp4');
    const finish = (end: () => void) => {
      cancel();
      socket.close();
      end();
    };
    const cancel = realClock.timer(limitMs, () => finish(() => resolve(undefined)));
    socket.on('error', (error) => finish(() => reject(error)));
    socket.on('message', (message) => finish(() => resolve(message)));
    socket.bind(0, to.from, () => socket.connect(to.port, to.server, () => socket.send(packet)));
  });
}

/** Sends all packets at once over one connection and waits for as many answers, or for its end. */
export function exchangeTcp(to: Asking, packets: readonly Buffer[]): Promise<readonly Buffer[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: to.server, port: to.port, localAddress: to.from });
    const answers: Buffer[] = [];
    let received = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('close', () => resolve(answers));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        answers.push(Buffer.from(received.subarray(2, end)));
        received = received.subarray(end);
      }
      if (answers.length >= packets.length) socket.end();
    });
    for (const packet of packets) {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(packet.length);
      socket.write(Buffer.concat([length, packet]));
    }
  });
}

export interface Told {
  readonly code: string;
  /** What the answers say, sorted. */
  readonly data: readonly string[];
  readonly packet: DecodedPacket;
}

export function read(packet: Buffer): Told {
  const decoded: DecodedPacket & { rcode?: string } = decode(packet);
  const data = (decoded.answers ?? []).map((answer) => ('data' in answer ? String(answer.data) : answer.type));
  return { code: decoded.rcode ?? '', data: data.sort(), packet: decoded };
}

export async function ask(to: Asking, name: string, type: QuestionType = 'A'): Promise<Told> {
  const answer = await exchangeUdp(to, question(name, type));
  if (answer === undefined) throw new Error(`no answer for ${name}`);
  return read(answer);
}
