import type { Service } from './objects.ts';
import type { ServiceSpec } from './spec.ts';

export function isJobSpec({ Mode }: ServiceSpec): boolean {
  return Mode.ReplicatedJob !== undefined || Mode.GlobalJob !== undefined;
}

/** The part of a service that says which execution of a job it is; every change of a job's spec executes it anew. */
export function jobStatusAfter(
  service: Service | undefined,
  spec: ServiceSpec,
  now: number,
): Pick<Service, 'jobStatus'> {
  if (!isJobSpec(spec)) return {};
  const iteration = service?.jobStatus === undefined ? 0 : service.jobStatus.iteration + 1;
  return { jobStatus: { iteration, lastExecution: now } };
}
