import { expect, test } from 'vitest';
import type { Service } from './objects.ts';
import type { ServiceMode, ServiceSpec } from './spec.ts';
import { rolledBack } from './update.ts';

function rolled(Mode: ServiceMode) {
  const spec: ServiceSpec = { Name: 'a', Labels: {}, TaskTemplate: { ContainerSpec: { Image: 'app:1' } }, Mode };
  const meta = { version: 1, createdAt: 0, updatedAt: 0 };
  const service = { id: 'a', meta, spec, specVersion: 2, previousSpec: spec } as unknown as Service;
  return rolledBack(service, { spec, message: 'because', startedAt: 5, by: 'user' }, 7);
}

test('a rollback says how it stands until it is completed; that of a job is a new execution and nothing more', () => {
  const updateStatus = { state: 'rollback_started', startedAt: 5, message: 'because' };
  expect(rolled({ Replicated: { Replicas: 2 } })).toMatchObject({ specVersion: 3, updateStatus });
  for (const mode of [{ ReplicatedJob: {} }, { GlobalJob: {} }]) {
    const { updateStatus: none, ...service } = rolled(mode);
    expect(none).toBeUndefined();
    expect(service).toMatchObject({ specVersion: 3, jobStatus: { lastExecution: 7 } });
  }
});
