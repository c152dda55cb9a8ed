import { credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import { nodeRuntime } from './src/index.ts';
import { GrpcTransport, raftService } from './src/transport/grpc/index.ts';
const mk = async (id: number) => {
  const transport = new GrpcTransport({ id, cluster: 'c', runtime: nodeRuntime, credentials: credentials.createInsecure() });
  const server = new Server(); const s = raftService(transport); server.addService(s.definition, s.implementation);
  const port = await new Promise<number>((r) => server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_e, p) => r(p)));
  return { transport, port, server };
};
const a = await mk(1), b = await mk(2);
a.transport.setPeers(new Map([[2, `127.0.0.1:${b.port}`]]));
const t0 = performance.now();
a.transport.onUnreachable(() => console.log('unreachable', performance.now() - t0));
let n = 0;
b.transport.onMessages((m) => { n += m.length; console.log((performance.now() - t0).toFixed(1), m.map((x) => x.type)); if (n >= 8) process.exit(); });
const app = (bytes: number) => ({ type: 'append', from: 1, to: 2, term: 1, prev: { term: 1, index: 1 }, entries: [{ term: 1, index: 2, kind: 0, data: new Uint8Array(bytes) }], commit: 1, epoch: 0 }) as const;
a.transport.send(2, [{ type: 'heartbeat', from: 1, to: 2, term: 1, commit: 0, read: 0 }, app(1000), app(700000), app(700000)]);
setTimeout(() => a.transport.send(2, [app(1000), app(700000), app(60000), app(700000)]), 4000);
