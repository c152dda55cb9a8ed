/** What a create or an update would lead to: the same checks, then the scheduler on the state as it is. Writes nothing. */
import { lookup } from '../../model/lookup.ts';
import { forecast } from '../../scheduler/index.ts';
import type { Handler } from './context.ts';
import { nameTaken } from './names.ts';
import { resolveReferences } from './references.ts';
import { checkImmutable, normal, updateWarnings } from './service.ts';
import { checkServiceSpec } from './task-spec.ts';

const unnamed = 'unnamed';

export const dryRunService: Handler<'service.dryRun'> = ({ store }, request) =>
  store.transact((tx) => {
    const given = normal({ ...request.spec, Name: request.spec.Name || unnamed });
    const service = request.id === undefined ? undefined : lookup(tx, 'service', request.id);
    if (service !== undefined) checkImmutable(service, given);
    else if (tx.serviceByName(given.Name) !== undefined) throw nameTaken('service', given.Name);
    checkServiceSpec(given);
    const spec = resolveReferences(tx, given, service?.id);
    const wish = { spec, now: tx.now, ...(service === undefined ? {} : { service }) };
    return { warnings: updateWarnings(spec), forecast: forecast(tx, wish) };
  });
