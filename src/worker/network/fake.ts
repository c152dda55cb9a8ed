/**
 * Networks in memory, for tests of what uses a NetworkDriver. The object is the host: `reopen` is another daemon on it. Passes the same
 * contract as the real one; packets do not exist.
 */
import { ClusterError } from '../../lib/errors.ts';
import { emptyNetworkState, type NetworkState } from '../../model/network.ts';
import type { NetworkProblem } from '../../model/objects.ts';
import { Gate } from '../gate.ts';
import { nextAddress } from './driver.ts';
import type { NetworkDriver, Sandbox, SandboxRequest } from './port.ts';

interface Kept {
  readonly sandboxes: Map<string, Sandbox>;
  state: NetworkState;
  lastGateway: string | undefined;
  lastPort: number;
}

export class FakeNetworkDriver implements NetworkDriver {
  readonly #kept: Kept;
  readonly #gate = new Gate();
  readonly #handlers = new Set<(problems: readonly NetworkProblem[]) => void>();
  #problems: readonly NetworkProblem[] = [];
  #inPlace: NetworkState | undefined;
  #fails = false;
  readonly #waiting = new Map<string, AbortController>();

  constructor(
    kept: Kept = { sandboxes: new Map(), state: emptyNetworkState, lastGateway: undefined, lastPort: 32_768 },
  ) {
    this.#kept = kept;
  }

  /** The next daemon on the same host. */
  reopen(): FakeNetworkDriver {
    return new FakeNetworkDriver(this.#kept);
  }

  get state(): NetworkState {
    return this.#kept.state;
  }

  setProblems(problems: readonly NetworkProblem[]): void {
    this.#problems = problems;
    for (const handle of this.#handlers) handle(problems);
  }

  /** From now on no state is carried out; or all are again, the last one at once. */
  setFailing(fails: boolean): void {
    this.#fails = fails;
    if (fails || this.#inPlace === this.#kept.state) return;
    this.#inPlace = this.#kept.state;
    for (const handle of this.#handlers) handle(this.#problems);
  }

  async start(): Promise<void> {}

  async attach(request: SandboxRequest, signal: AbortSignal): Promise<Sandbox> {
    if (request.mode === 'own') await this.#known(request, signal);
    const known = this.#kept.sandboxes.get(request.taskId);
    if (known !== undefined) return known;
    if (request.mode !== 'own') return this.#keep(request, undefined);
    for (const { port, protocol } of request.hostPorts) this.#checkPort(port, protocol);
    const subnet = this.#kept.state.self?.gatewaySubnet ?? '';
    const taken = new Set([...this.#kept.sandboxes.values()].flatMap(({ gateway }) => gateway ?? []));
    const gateway = nextAddress(subnet, taken, this.#kept.lastGateway);
    if (gateway === undefined) throw new ClusterError('exhausted', `no address left in ${subnet}`);
    this.#kept.lastGateway = gateway;
    return this.#keep(request, gateway);
  }

  async detach(taskId: string): Promise<void> {
    this.#waiting.get(taskId)?.abort();
    this.#kept.sandboxes.delete(taskId);
  }

  async list(): Promise<readonly string[]> {
    return [...this.#kept.sandboxes.keys()];
  }

  async apply(state: NetworkState): Promise<readonly NetworkProblem[]> {
    this.#kept.state = state;
    if (!this.#fails) this.#inPlace = state;
    this.#gate.signal();
    return this.#problems;
  }

  inPlace(): NetworkState | undefined {
    return this.#inPlace;
  }

  onProblems(handle: (problems: readonly NetworkProblem[]) => void): void {
    this.#handlers.add(handle);
  }

  async close(): Promise<void> {
    for (const waiting of this.#waiting.values()) waiting.abort();
  }

  async destroy(): Promise<void> {
    this.#kept.sandboxes.clear();
    this.#kept.state = emptyNetworkState;
    this.#inPlace = undefined;
    this.#kept.lastGateway = undefined;
  }

  async #known(request: SandboxRequest, signal: AbortSignal): Promise<void> {
    const removed = new AbortController();
    this.#waiting.set(request.taskId, removed);
    try {
      await this.#gate.until(() => this.#isKnown(request), AbortSignal.any([signal, removed.signal]));
    } catch (cause) {
      throw new ClusterError('cancelled', 'the task no longer wants its network', { cause });
    } finally {
      this.#waiting.delete(request.taskId);
    }
  }

  #isKnown({ attachments }: SandboxRequest): boolean {
    const { self, networks } = this.#kept.state;
    return self !== undefined && attachments.every(({ networkId }) => networks.has(networkId));
  }

  #keep({ taskId, mode, hostPorts }: SandboxRequest, gateway: string | undefined): Sandbox {
    const published = mode === 'own' ? hostPorts : [];
    const sandbox: Sandbox = {
      taskId,
      netnsPath: mode === 'host' ? '' : `/run/netns/fake-${taskId}`,
      ...(gateway === undefined ? {} : { gateway }),
      hostsPath: `/fake/${taskId}/hosts`,
      resolvConfPath: `/fake/${taskId}/resolv.conf`,
      hostnamePath: `/fake/${taskId}/hostname`,
      ports: published.map(({ port, protocol, target, hostIp }) => ({
        Protocol: protocol,
        TargetPort: target,
        PublishedPort: port || this.#freePort(),
        PublishMode: 'host',
        ...(hostIp === undefined ? {} : { HostIP: hostIp }),
      })),
    };
    this.#kept.sandboxes.set(taskId, sandbox);
    return sandbox;
  }

  /** Of the ephemeral range. */
  #freePort(): number {
    this.#kept.lastPort += 1;
    return this.#kept.lastPort;
  }

  #checkPort(port: number, protocol: string): void {
    if (port === 0) return;
    for (const { taskId, ports } of this.#kept.sandboxes.values()) {
      const clash = ports.some((own) => own.PublishedPort === port && own.Protocol === protocol);
      if (!clash) continue;
      const text = `Bind for 0.0.0.0:${port}/${protocol} failed: port is already allocated (task ${taskId})`;
      throw new ClusterError('failed_precondition', text);
    }
  }
}
