/**
 * A whole plan (what a stack file asks for) carried out on a transaction that nobody proposes: the same handlers, the same rules, the
 * same words as when it is done for real, and nothing written. So a client can know that its second service will be taken before it
 * creates the first.
 */
import { ClusterError, toClusterError } from '../../lib/errors.ts';
import type { PlannedService, PlanRequest } from '../../model/control.ts';
import type { ServiceSpec } from '../../model/spec.ts';
import type { Store, Transaction } from '../store/port.ts';
import type { ControlApiOptions, Handler } from './context.ts';
import { createConfig, createSecret, updateConfig, updateSecret } from './files.ts';
import { createNetwork } from './network.ts';
import { createService, updateService } from './service.ts';

export const checkPlan: Handler<'plan.check'> = async (options, plan) => {
  const tx = await openTransaction(options.store);
  const rehearsal = { ...options, store: rehearsalOf(options.store, tx) };
  for (const spec of plan.networks ?? []) {
    if (tx.networkByName(spec.Name) !== undefined) continue;
    await during(`create network ${spec.Name}`, () => createNetwork(rehearsal, { spec }));
  }
  await checkFiles(rehearsal, tx, plan);
  for (const service of plan.services ?? []) {
    const action = service.id === undefined ? 'create' : 'update';
    await during(`${action} service ${service.spec.Name}`, () => checkService(rehearsal, tx, service));
  }
  return {};
};

async function checkFiles(options: ControlApiOptions, tx: Transaction, plan: PlanRequest): Promise<void> {
  for (const spec of plan.secrets ?? []) {
    const known = tx.secretByName(spec.Name);
    const update = known && { id: known.id, version: known.meta.version, spec };
    await during(`${known ? 'update' : 'create'} secret ${spec.Name}`, () =>
      update === undefined ? createSecret(options, { spec }) : updateSecret(options, update),
    );
  }
  for (const spec of plan.configs ?? []) {
    const known = tx.configByName(spec.Name);
    const update = known && { id: known.id, version: known.meta.version, spec };
    await during(`${known ? 'update' : 'create'} config ${spec.Name}`, () =>
      update === undefined ? createConfig(options, { spec }) : updateConfig(options, update),
    );
  }
}

function checkService(options: ControlApiOptions, tx: Transaction, { id, spec: named }: PlannedService) {
  const spec = withIds(tx, named);
  if (id === undefined) return createService(options, { spec });
  const version = tx.get('service', id)?.meta.version ?? 0;
  return updateService(options, { id, version, spec });
}

/** What the plan itself makes has no id yet: files refer to it by name. */
function withIds(tx: Transaction, spec: ServiceSpec): ServiceSpec {
  const { TaskTemplate: task } = spec;
  const { Secrets, Configs, ...rest } = task.ContainerSpec;
  const container = {
    ...rest,
    ...(Secrets && {
      Secrets: Secrets.map((use) => ({ ...use, SecretID: tx.secretByName(use.SecretName)?.id ?? '?' })),
    }),
    ...(Configs && {
      Configs: Configs.map((use) => ({ ...use, ConfigID: tx.configByName(use.ConfigName)?.id ?? '?' })),
    }),
  };
  return { ...spec, TaskTemplate: { ...task, ContainerSpec: container } };
}

/** The transaction of a store that is told to forget it at once. */
async function openTransaction(store: Store): Promise<Transaction> {
  const opened: Transaction[] = [];
  const enough = new Error('opened');
  await store
    .transact((tx) => {
      opened.push(tx);
      throw enough;
    })
    .catch((error: unknown) => {
      if (error !== enough) throw error;
    });
  const [tx] = opened;
  if (tx === undefined) throw new ClusterError('internal', 'the store opened no transaction');
  return tx;
}

function rehearsalOf(store: Store, tx: Transaction): Store {
  return {
    view: tx,
    transact: async (build) => build(tx),
    batch: () => Promise.reject(new ClusterError('internal', 'a plan is no batch')),
    subscribe: (handle) => store.subscribe(handle),
  };
}

async function during(step: string, act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (error) {
    const { kind, message } = toClusterError(error);
    throw new ClusterError(kind, `failed to ${step}: ${message}`, { cause: error });
  }
}
