/**
 * The control API: the only door for writes, on the leader. Each method checks its request against Docker's rules (with Docker's
 * words), then makes one transaction. It promises that what it accepts is carried out: what is not built is refused by name
 * (`unimplemented`). It never talks to agents or to the network, and reads nothing but the store.
 */
import { ClusterError } from '../../lib/errors.ts';
import type { Control, ControlMethod, ControlRequest, ControlResponse } from '../../model/control.ts';
import { updateCluster } from './cluster.ts';
import type { ControlApiOptions, Handler } from './context.ts';
import { dryRunService } from './dry-run.ts';
import { createConfig, createSecret, removeConfig, removeSecret, updateConfig, updateSecret } from './files.ts';
import { createNetwork, removeNetwork } from './network.ts';
import { removeNode, updateNode } from './node.ts';
import { checkPlan } from './rehearse.ts';
import { createService, removeService, rollbackService, updateService } from './service.ts';

export type { ControlApiOptions } from './context.ts';

const handlers: { readonly [M in ControlMethod]: Handler<M> } = {
  'service.create': createService,
  'service.update': updateService,
  'service.rollback': rollbackService,
  'service.dryRun': dryRunService,
  'service.remove': removeService,
  'secret.create': createSecret,
  'secret.update': updateSecret,
  'secret.remove': removeSecret,
  'config.create': createConfig,
  'config.update': updateConfig,
  'config.remove': removeConfig,
  'network.create': createNetwork,
  'network.remove': removeNetwork,
  'plan.check': checkPlan,
  'node.update': updateNode,
  'node.remove': removeNode,
  'cluster.update': updateCluster,
};

export function createControlApi(options: ControlApiOptions): Control {
  return {
    async call<M extends ControlMethod>(method: M, request: ControlRequest<M>): Promise<ControlResponse<M>> {
      if (!Object.hasOwn(handlers, method)) throw new ClusterError('unimplemented', `unknown method ${String(method)}`);
      const handler: Handler<M> = handlers[method];
      return handler(options, request);
    },
  };
}
