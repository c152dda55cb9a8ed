/** Where the hosts' images come from: Docker Hub, or this machine's own packages in a registry on the hosts' network. */

import { busyboxImage, nginxImage, pushImage, whoamiImage } from '../fixtures/images.ts';
import { execute, type Hosts } from './hosts.ts';

/** Makes `nginx` and `busybox` available to the hosts' daemons; says where from. */
export async function provideImages(hosts: Hosts): Promise<string> {
  if (await hubAnswers()) {
    await hosts.openInternet();
    return 'Docker Hub answers: the hosts pull from it';
  }
  return serveLocalImages(hosts);
}

export async function serveLocalImages(hosts: Hosts): Promise<string> {
  const registry = await hosts.startRegistry();
  await pushImage(registry, 'library/nginx:latest', await nginxImage());
  await pushImage(registry, 'library/busybox:latest', await busyboxImage());
  hosts.mirrors = [registry];
  return `Docker Hub cannot be reached: nginx and busybox built from this machine's packages, served at ${registry}`;
}

/** `whoami` for tests of networks, besides {@link serveLocalImages}. */
export async function serveWhoami(hosts: Hosts): Promise<void> {
  const [registry] = hosts.mirrors;
  if (registry === undefined) throw new Error('serve the local images first');
  await pushImage(registry, 'library/whoami:latest', await whoamiImage());
}

async function hubAnswers(): Promise<boolean> {
  const { code } = await execute(
    'curl',
    ['-s', '-o', '/dev/null', '--max-time', '3', 'https://registry-1.docker.io/v2/'],
    {},
  );
  return code === 0;
}
