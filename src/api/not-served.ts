/** Parts of the Docker Engine API that are about one engine, not about a cluster: what is asked for is named, and what to use instead. */
const instead: Readonly<Record<string, string>> = {
  containers:
    'use `tscluster service ps SERVICE` or `tscluster node ps NODE` for tasks, `tscluster service logs` for their output',
  exec: 'commands in running tasks cannot be run from here',
  images: 'nodes pull the images of their tasks by themselves; use `ctr images` on the node',
  build: 'build images elsewhere and push them to a registry',
  session: 'build images elsewhere and push them to a registry',
  commit: 'build images elsewhere and push them to a registry',
  plugins: 'drivers are built in',
  auth: "nodes log in to registries with the daemon's own settings",
  system: 'use `tscluster info`',
};

/** Why nobody answers at this path; undefined: it is no path of Docker's either. */
export function notServed(url: string): string | undefined {
  const noun = /^\/([a-z]+)/.exec(url)?.[1] ?? '';
  if (!Object.hasOwn(instead, noun)) return undefined;
  return `${noun} API is not served by tscluster: ${instead[noun]}`;
}
