/** The flags that `service create` and `service update` share, and what they hold once read. */
import type { Command } from 'commander';
import { bytes, collect, cpus, duration, integer, ratio, uint } from '../options.ts';

export interface CommonFlags {
  readonly capAdd?: string[];
  readonly capDrop?: string[];
  readonly credentialSpec?: string;
  readonly detach?: boolean;
  readonly drainDelay?: number;
  readonly dryRun?: boolean;
  readonly endpointMode?: string;
  readonly entrypoint?: string;
  readonly failoverDelay?: number;
  readonly healthCmd?: string;
  readonly healthInterval?: number;
  readonly healthRetries?: number;
  readonly healthStartInterval?: number;
  readonly healthStartPeriod?: number;
  readonly healthTimeout?: number;
  /** False after `--no-healthcheck`. */
  readonly healthcheck: boolean;
  readonly hostname?: string;
  readonly init?: boolean;
  readonly isolation?: string;
  readonly limitCpu?: number;
  readonly limitMemory?: number;
  readonly limitPids?: number;
  readonly logDriver?: string;
  readonly logOpt?: string[];
  readonly maxConcurrent?: number;
  readonly oomScoreAdj?: number;
  readonly quiet?: boolean;
  readonly readOnly?: boolean;
  readonly replicas?: number;
  readonly replicasMaxPerNode?: number;
  readonly reserveCpu?: number;
  readonly reserveMemory?: number;
  /** False after `--no-resolve-image`. */
  readonly resolveImage: boolean;
  readonly restartCondition?: string;
  readonly restartDelay?: number;
  readonly restartMaxAttempts?: number;
  readonly restartWindow?: number;
  readonly rollbackDelay?: number;
  readonly rollbackFailureAction?: string;
  readonly rollbackMaxFailureRatio?: number;
  readonly rollbackMonitor?: number;
  readonly rollbackOrder?: string;
  readonly rollbackParallelism?: number;
  readonly stopGracePeriod?: number;
  readonly stopSignal?: string;
  readonly tty?: boolean;
  readonly updateDelay?: number;
  readonly updateFailureAction?: string;
  readonly updateMaxFailureRatio?: number;
  readonly updateMonitor?: number;
  readonly updateOrder?: string;
  readonly updateParallelism?: number;
  readonly updateProgressDeadline?: number;
  readonly user?: string;
  readonly withRegistryAuth?: boolean;
  readonly workdir?: string;
}

export function addCommonFlags(command: Command): void {
  addContainerFlags(command);
  addPolicyFlags(command);
  command
    .option('-d, --detach', 'Exit immediately instead of waiting for the service to converge')
    .option(
      '--drain-delay <duration>',
      'Time that a task goes on after it was taken out of names and published ports (default 1s)',
      duration,
    )
    .option('--dry-run', 'Show the placement that would result, and change nothing')
    .option(
      '--failover-delay <duration>',
      'Time to wait for a node that is down before its tasks are replaced (default 0s)',
      duration,
    )
    .option('-q, --quiet', 'Suppress progress output')
    .option('--no-resolve-image', 'Do not query the registry to resolve image digest and supported platforms')
    .option('--with-registry-auth', 'Send registry authentication details to the nodes');
}

function addContainerFlags(command: Command): void {
  command
    .option('--cap-add <capability>', 'Add Linux capabilities', collect)
    .option('--cap-drop <capability>', 'Drop Linux capabilities', collect)
    .option('--credential-spec <spec>', 'Credential spec for managed service account (Windows only)')
    .option('--entrypoint <command>', 'Overwrite the default ENTRYPOINT of the image')
    .option('--health-cmd <command>', 'Command to run to check health')
    .option('--health-interval <duration>', 'Time between running the check (ms|s|m|h)', duration)
    .option('--health-retries <count>', 'Consecutive failures needed to report unhealthy', uint)
    .option('--health-start-interval <duration>', 'Time between checks during the start period (ms|s|m|h)', duration)
    .option(
      '--health-start-period <duration>',
      'Start period before retries count towards unhealthy (ms|s|m|h)',
      duration,
    )
    .option('--health-timeout <duration>', 'Maximum time to allow one check to run (ms|s|m|h)', duration)
    .option('--no-healthcheck', 'Disable any container-specified HEALTHCHECK')
    .option('--hostname <name>', 'Container hostname')
    .option('--init', 'Use an init inside each container to forward signals and reap processes')
    .option('--isolation <mode>', 'Service container isolation mode')
    .option('--limit-cpu <cpus>', 'Limit CPUs', cpus)
    .option('--limit-memory <bytes>', 'Limit memory', bytes)
    .option('--limit-pids <count>', 'Limit maximum number of processes (0 = unlimited)', uint)
    .option('--log-driver <driver>', 'Logging driver for service')
    .option('--log-opt <option>', 'Logging driver options', collect)
    .option('--oom-score-adj <score>', "Tune host's OOM preferences (-1000 to 1000)", integer)
    .option('--read-only', "Mount the container's root filesystem as read only")
    .option('--reserve-cpu <cpus>', 'Reserve CPUs', cpus)
    .option('--reserve-memory <bytes>', 'Reserve memory', bytes)
    .option(
      '--stop-grace-period <duration>',
      'Time to wait before force killing a container (ns|us|ms|s|m|h)',
      duration,
    )
    .option('--stop-signal <signal>', 'Signal to stop the container')
    .option('-t, --tty', 'Allocate a pseudo-TTY')
    .option('-u, --user <user>', 'Username or UID (<name|uid>[:<group|gid>])')
    .option('-w, --workdir <dir>', 'Working directory inside the container');
}

function addPolicyFlags(command: Command): void {
  command
    .option('--endpoint-mode <mode>', 'Endpoint mode (vip or dnsrr)')
    .option('--max-concurrent <count>', 'Number of job tasks to run concurrently (default equal to --replicas)', uint)
    .option('--replicas <count>', 'Number of tasks', uint)
    .option('--replicas-max-per-node <count>', 'Maximum number of tasks per node (0 = unlimited)', uint)
    .option('--restart-condition <condition>', 'Restart when condition is met ("none", "on-failure", "any")')
    .option('--restart-delay <duration>', 'Delay between restart attempts (ns|us|ms|s|m|h)', duration)
    .option('--restart-max-attempts <count>', 'Maximum number of restarts before giving up', uint)
    .option('--restart-window <duration>', 'Window used to evaluate the restart policy (ns|us|ms|s|m|h)', duration);
  command.option(
    '--update-progress-deadline <duration>',
    'Time for a new task to run before it counts as failed (default 10m, 0 = for ever)',
    duration,
  );
  for (const [flag, what] of [
    ['update', 'updates'],
    ['rollback', 'task rollbacks'],
  ] as const) {
    command
      .option(`--${flag}-delay <duration>`, `Delay between ${what} (ns|us|ms|s|m|h)`, duration)
      .option(`--${flag}-failure-action <action>`, `Action on ${flag} failure`)
      .option(`--${flag}-max-failure-ratio <ratio>`, `Failure rate to tolerate during ${what}`, ratio)
      .option(`--${flag}-monitor <duration>`, `Time to watch each task for failure (ns|us|ms|s|m|h)`, duration)
      .option(`--${flag}-order <order>`, 'Order: "start-first" or "stop-first"')
      .option(`--${flag}-parallelism <count>`, 'Maximum number of tasks at once (0 = all)', uint);
  }
}
