import { describe, expect, test } from 'vitest';
import type { ApiNode, ApiService, ApiTask } from '../../client/index.ts';
import { progressOf } from './converge.ts';

const head = { ID: 'x', Version: { Index: 1 }, CreatedAt: '', UpdatedAt: '' };

function service(mode: object, extra: object = {}): ApiService {
  return {
    ...head,
    Spec: { Name: 'web', Labels: {}, TaskTemplate: { ContainerSpec: { Image: 'i' } }, Mode: mode },
    ...extra,
  };
}

function node(id: string, state = 'ready'): ApiNode {
  return {
    ...head,
    ID: id,
    Spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    Description: {},
    Status: { State: state },
  };
}

/** `slot state [desired [node [error]]]` */
function task(text: string): ApiTask {
  const [slot = '1', state = 'running', desired = 'running', nodeId = 'n', error = ''] = text.split(' ');
  const status = { Timestamp: '', State: state, Err: error.replaceAll('_', ' ') };
  return {
    ...head,
    ServiceID: 's',
    Slot: Number(slot),
    NodeID: nodeId,
    Spec: { ContainerSpec: { Image: 'i' } },
    Status: status,
    DesiredState: desired,
  };
}

const look = (mode: object, tasks: string[], nodes = [node('n')]) => progressOf(service(mode), tasks.map(task), nodes);

describe('progress', () => {
  test.each<[string, number, string[], string, boolean]>([
    ['nothing yet', 2, [], '0 out of 2', false],
    ['all run', 2, ['1 running', '2 running'], '2 out of 2', true],
    ['one starts', 2, ['1 running', '2 starting'], '1 out of 2', false],
    ['a task that shuts down does not count', 1, ['1 running shutdown'], '0 out of 1', false],
    ['of one slot the wanted task counts', 1, ['1 failed shutdown', '1 running'], '1 out of 1', true],
    ['tasks on nodes that are away do not count', 1, ['1 running running gone'], '0 out of 1', false],
    ['more than wanted is not there yet', 1, ['1 running', '2 running'], '2 out of 1', false],
    ['none wanted', 0, [], '0 out of 0', true],
  ])('%s', (_, replicas, tasks, header, converged) => {
    const progress = look({ Replicated: { Replicas: replicas } }, tasks);
    expect([progress.header, progress.converged]).toEqual([`overall progress: ${header} tasks`, converged]);
  });

  test('a slot says its error rather than its state', () => {
    expect(look({ Replicated: { Replicas: 1 } }, ['1 pending running  no_suitable_node']).slots).toEqual([
      { label: '1/1', text: 'no suitable node' },
    ]);
  });

  test('global services wait for a task on every node they chose', () => {
    expect(look({ Global: {} }, []).header).toBe('overall progress: waiting for new tasks');
    const nodes = [node('a'), node('b'), node('c', 'down')];
    expect(
      look({ Global: {} }, ['0 running running a', '0 starting running b', '0 running running c'], nodes).header,
    ).toBe('overall progress: 1 out of 2 tasks');
  });

  test('jobs end', () => {
    expect(
      look({ ReplicatedJob: { TotalCompletions: 2 } }, ['0 complete complete', '1 running complete']),
    ).toMatchObject({
      header: 'job progress: 1 out of 2 complete',
      converged: false,
      job: true,
    });
  });
});
