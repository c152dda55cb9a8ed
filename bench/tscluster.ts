/** Our side: tscluster with three managers on three test hosts of the same kind, the image in a registry on their network. */
import { formCluster } from '../test/e2e/cluster.ts';
import { Hosts } from '../test/e2e/hosts.ts';
import { busyboxImage, pushImage } from '../test/fixtures/images.ts';
import { type Memory, processes, residentMb, type Subject } from './subject.ts';

export class Tscluster implements Subject {
  readonly name = 'tscluster';
  readonly image: string;
  readonly sockets: readonly string[];
  readonly #hosts: Hosts;

  private constructor(hosts: Hosts, image: string) {
    this.image = image;
    this.#hosts = hosts;
    this.sockets = hosts.hosts.map((host) => host.socket);
  }

  static async up(options: { readonly prefix: string; readonly count: number }): Promise<Tscluster> {
    const hosts = await Hosts.up({ ...options, network: '10.77.0' });
    try {
      const registry = await hosts.startRegistry();
      const busybox = await busyboxImage();
      await pushImage(registry, 'library/bb:latest', busybox);
      hosts.mirrors = [registry];
      await formCluster(hosts, options.count);
      return new Tscluster(hosts, `bb@${busybox.manifest.digest}`);
    } catch (error) {
      const logs = hosts.hosts.map((host) => `-- last lines of ${host.name}'s daemon\n${host.logTail()}`);
      await hosts.down();
      throw new Error(`${(error as Error).message}\n${logs.join('\n')}`, { cause: error });
    }
  }

  /** One containerd serves all hosts. */
  memory(): Memory {
    const daemons = this.#hosts.hosts.map((host) => residentMb(host.pid ?? 0));
    const containerd = processes((command) => command.startsWith(`containerd --config ${this.#hosts.dir}/`))[0] ?? 0;
    return { daemonMb: Math.max(...daemons), containerdMb: residentMb(containerd) };
  }

  down(): Promise<void> {
    return this.#hosts.down();
  }
}
