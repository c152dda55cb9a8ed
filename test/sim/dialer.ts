/** Calls between nodes over the simulated network: what `src/rpc` is on gRPC. A node's identity is its host's name. */
import { ClusterError } from '../../src/lib/errors.ts';
import type { Duplex } from '../../src/lib/stream.ts';
import type { AgentMessage, ManagerMessage } from '../../src/model/assignment.ts';
import type { Dialer, Identity, LogsAsk, LogsMessage, ManagerService, Peer } from '../../src/rpc/port.ts';
import { copy } from './network.ts';
import type { ProcessClock } from './process-clock.ts';
import type { World } from './world.ts';

export const clusterId = 'simcluster';

export function createDialer(world: World, caller: ProcessClock): Dialer {
  return { dial: (addr) => peer(world, caller, addr.split(':')[0] ?? '') };
}

function identityOf(host: string): Identity {
  return { nodeId: host, role: host.startsWith('m') ? 'manager' : 'worker', clusterId };
}

function peer(world: World, caller: ProcessClock, to: string): Peer {
  const identity = identityOf(caller.host);
  const call = <T>(run: (service: ManagerService) => Promise<T>): Promise<T> =>
    world.network.call(caller, to, () => {
      const served = world.serving(to);
      return served === undefined ? undefined : { clock: served.clock, run: () => run(served.service) };
    });
  return {
    rootCa: () => call((service) => service.rootCa()),
    issueCertificate: () => Promise.reject(new ClusterError('unimplemented', 'certificates are not simulated')),
    openSession: (): Duplex<AgentMessage, ManagerMessage> =>
      world.network.open<AgentMessage, ManagerMessage>(caller, to, (wrap) => {
        const served = world.serving(to);
        served?.clock.enter(() => {
          const stream = world.stops.watch(wrap(served.clock), caller.host, served.clock);
          served.service.session(stream, identity, `${caller.host}:40000`);
        });
        return served !== undefined;
      }),
    call: (method, request) =>
      call((service) => service.call(method, copy(request), identity) as ReturnType<Peer['call']>) as never,
    joinRaft: (request) => call((service) => service.joinRaft(copy(request), identity)),
    leaveRaft: (request) => call((service) => service.leaveRaft(copy(request), identity)),
    withdraw: () => call((service) => service.withdraw(identity)),
    openLogs: (): Duplex<LogsAsk, LogsMessage> =>
      world.network.open<LogsAsk, LogsMessage>(caller, to, (wrap) => {
        const served = world.serving(to);
        served?.clock.enter(() => served.service.logs(wrap(served.clock), identity));
        return served !== undefined;
      }),
    close: () => {},
  };
}
