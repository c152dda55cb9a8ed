import type { AssignedConfig, AssignedSecret, AssignedTask, AssignmentSet } from '../model/assignment.ts';
import type { Dependencies } from './executor/port.ts';
import { Gate } from './gate.ts';

/** Puts the parts of sets together, and notices when one is missing. */
export class AssignmentInbox {
  #version = 0;
  #parts: AssignmentSet[] = [];

  /** A new session starts with a full set. */
  reset(): void {
    this.#version = 0;
    this.#parts = [];
  }

  add(part: AssignmentSet): AssignmentSet | 'incomplete' | 'gap' {
    const [first] = this.#parts;
    if (first !== undefined && (first.kind !== part.kind || first.resultsIn !== part.resultsIn)) return 'gap';
    if (part.kind === 'incremental' && (this.#version === 0 || part.appliesTo !== this.#version)) return 'gap';
    this.#parts.push(part);
    if (part.more === true) return 'incomplete';
    const parts = this.#parts;
    this.#parts = [];
    this.#version = part.resultsIn;
    return merge(part, parts);
  }
}

function merge(last: AssignmentSet, parts: readonly AssignmentSet[]): AssignmentSet {
  if (parts.length === 1) return last;
  return {
    kind: last.kind,
    appliesTo: last.appliesTo,
    resultsIn: last.resultsIn,
    tasks: parts.flatMap((part) => part.tasks),
    removedTasks: parts.flatMap((part) => part.removedTasks),
    secrets: parts.flatMap((part) => part.secrets),
    removedSecrets: parts.flatMap((part) => part.removedSecrets),
    configs: parts.flatMap((part) => part.configs),
    removedConfigs: parts.flatMap((part) => part.removedConfigs),
    credentials: parts.flatMap((part) => part.credentials ?? []),
  };
}

/**
 * Secrets, configs and registry credentials of this node's tasks: in memory only, so after a restart they come with the first
 * session.
 */
export class DependencyStore implements Dependencies {
  readonly #secrets = new Map<string, AssignedSecret>();
  readonly #configs = new Map<string, AssignedConfig>();
  /** By task. */
  readonly #credentials = new Map<string, string>();
  readonly #gate = new Gate();
  /** A manager has said what there is: what is not here does not exist. */
  #complete = false;

  secret(id: string): AssignedSecret | undefined {
    return this.#secrets.get(id);
  }

  config(id: string): AssignedConfig | undefined {
    return this.#configs.get(id);
  }

  registryAuth(taskId: string): string | undefined {
    return this.#credentials.get(taskId);
  }

  apply(set: AssignmentSet): void {
    if (set.kind === 'full') {
      this.#credentials.clear();
      this.#secrets.clear();
      this.#configs.clear();
      this.#complete = true;
    }
    for (const secret of set.secrets) this.#secrets.set(secret.id, secret);
    for (const config of set.configs) this.#configs.set(config.id, config);
    for (const id of set.removedSecrets) this.#secrets.delete(id);
    for (const id of set.removedConfigs) this.#configs.delete(id);
    for (const { taskId, auth } of set.credentials ?? []) {
      if (auth === '') this.#credentials.delete(taskId);
      else this.#credentials.set(taskId, auth);
    }
    for (const id of set.removedTasks) this.#credentials.delete(id);
    this.#gate.signal();
  }

  /** Nothing of it is this node's any more. */
  clear(): void {
    this.#secrets.clear();
    this.#configs.clear();
    this.#credentials.clear();
  }

  /** Waits for what the task needs, as long as no manager has spoken. What is missing then is the controller's to refuse. */
  ready(task: AssignedTask, signal: AbortSignal): Promise<void> {
    const { Secrets = [], Configs = [] } = task.spec.ContainerSpec;
    const here = () =>
      Secrets.every((reference) => this.#secrets.has(reference.SecretID)) &&
      Configs.every((reference) => this.#configs.has(reference.ConfigID));
    return this.#gate.until(() => this.#complete || here(), signal);
  }
}
