import { ClusterError } from '../../lib/errors.ts';
import { seededRandom } from '../../lib/random.ts';
import { VirtualClock } from '../../lib/testing/virtual-clock.ts';
import { defaultClusterNetwork, emptyNetworkState, type NetworkState } from '../../model/network.ts';
import { assignedTask } from '../testing/tasks.ts';
import { executorContract } from './contract.ts';
import { FakeExecutor } from './fake.ts';

const networkState: NetworkState = {
  ...emptyNetworkState,
  version: 1,
  self: {
    nodeId: 'node',
    underlay: '192.0.2.1',
    gatewaySubnet: '172.28.0.0/24',
    ingressAddress: '10.255.0.1',
    ...defaultClusterNetwork,
  },
  networks: new Map([
    [
      'net',
      {
        id: 'net',
        name: 'net',
        driver: 'overlay',
        vni: 4097,
        subnets: [{ subnet: '10.0.0.0/24', gateway: '10.0.0.1' }],
        internal: false,
        options: {},
      },
    ],
  ]),
};

executorContract('in memory', async () => {
  const clock = new VirtualClock();
  const executor = new FakeExecutor({
    clock,
    random: seededRandom(1),
    prepareMs: [5, 50],
    startMs: [1, 20],
    stopMs: [1, 30],
    networksMs: [1, 30],
  });
  executor.failImage('missing:1', new ClusterError('not_found', 'No such image: missing:1'));
  const codes = new Map<string, number>();
  const printing = new Set<string>();
  let count = 0;
  const next = () => assignedTask(`task-${++count}`);
  return {
    executor,
    restarted: async () => executor,
    longTask: next,
    endingTask: (exitCode) => {
      const task = next();
      codes.set(task.id, exitCode);
      return task;
    },
    printingTask: () => {
      const task = next();
      codes.set(task.id, 0);
      printing.add(task.id);
      return task;
    },
    finish: (taskId) => {
      if (printing.has(taskId)) for (const line of [1, 2, 3]) executor.write(taskId, `line-${line}\n`);
      executor.exit(taskId, codes.get(taskId) ?? 0);
    },
    attachedTasks: () => {
      const attached = (host: number) =>
        assignedTask(`task-${++count}`, { attachments: [{ networkId: 'net', addresses: [`10.0.0.${host}/24`] }] });
      return { tasks: [attached(5), attached(6)], state: networkState };
    },
    badTask: () => assignedTask('bad', { spec: { ContainerSpec: { Image: 'missing:1' } } }),
    settle: (work) => clock.settle(work),
    close: async () => {},
  };
});
