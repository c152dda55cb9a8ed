/** What a stack file may contain, as data; checked by `check.ts`. Key names are Compose's (file format 3.13). */
export type Shape =
  | { readonly kind: 'string' | 'number' | 'boolean' | 'scalar' | 'integer' }
  | { readonly kind: 'list'; readonly item: Shape }
  | { readonly kind: 'map'; readonly value: Shape }
  | { readonly kind: 'object'; readonly keys: Readonly<Record<string, Shape>>; readonly required?: readonly string[] }
  | { readonly kind: 'any-of'; readonly shapes: readonly Shape[]; readonly words: string }
  | { readonly kind: 'nullable'; readonly shape: Shape }
  | { readonly kind: 'anything' };

const string: Shape = { kind: 'string' };
const number: Shape = { kind: 'number' };
const integer: Shape = { kind: 'integer' };
const boolean: Shape = { kind: 'boolean' };
const anything: Shape = { kind: 'anything' };
/** A string, number or boolean that stands for its text. */
const scalar: Shape = { kind: 'scalar' };
const list = (item: Shape): Shape => ({ kind: 'list', item });
const map = (value: Shape): Shape => ({ kind: 'map', value });
const nullable = (shape: Shape): Shape => ({ kind: 'nullable', shape });
const object = (keys: Readonly<Record<string, Shape>>, required: readonly string[] = []): Shape => ({
  kind: 'object',
  keys,
  required,
});
const either = (words: string, ...shapes: Shape[]): Shape => ({ kind: 'any-of', shapes, words });

const strings = list(string);
const stringOrStrings = either('a string or a list of strings', string, strings);
const command = either('a string or a list of strings', nullable(string), strings);
const pairs = either('a mapping or a list of strings', map(nullable(scalar)), strings);
const external = either('a boolean or a mapping with name', boolean, object({ name: string }));
const fileUse = either(
  'a name or a mapping',
  string,
  object({ source: string, target: string, uid: string, gid: string, mode: number }),
);
const size = either('a number or a size', integer, string);

const update = object({
  parallelism: integer,
  delay: string,
  failure_action: string,
  monitor: string,
  max_failure_ratio: number,
  order: string,
});

const deploy = object({
  mode: string,
  endpoint_mode: string,
  replicas: integer,
  labels: pairs,
  rollback_config: update,
  update_config: update,
  resources: object({
    limits: object({ cpus: string, memory: string, pids: integer }),
    reservations: object({
      cpus: string,
      memory: string,
      generic_resources: list(object({ discrete_resource_spec: object({ kind: string, value: integer }) })),
    }),
  }),
  restart_policy: object({ condition: string, delay: string, max_attempts: integer, window: string }),
  placement: object({
    constraints: strings,
    preferences: list(object({ spread: string })),
    max_replicas_per_node: integer,
  }),
});

const port = either(
  'a port, a string or a mapping',
  integer,
  string,
  object(
    {
      name: string,
      mode: string,
      target: integer,
      published: integer,
      protocol: string,
      host_ip: string,
      source: string,
    },
    ['target'],
  ),
);

const volume = either(
  'a string or a mapping',
  string,
  object(
    {
      type: string,
      source: string,
      target: string,
      read_only: boolean,
      consistency: string,
      bind: object({ propagation: string }),
      volume: object({ nocopy: boolean, subpath: string }),
      tmpfs: object({ size: integer }),
    },
    ['type'],
  ),
);

const networkUse = nullable(
  object({
    aliases: strings,
    driver_opts: map(scalar),
    ipv4_address: string,
    ipv6_address: string,
    link_local_ips: strings,
    mac_address: string,
    priority: number,
  }),
);

const service = object({
  build: anything,
  cap_add: strings,
  cap_drop: strings,
  cgroup_parent: string,
  cgroupns_mode: string,
  command,
  configs: list(fileUse),
  container_name: string,
  credential_spec: object({ config: string, file: string, registry: string }),
  depends_on: strings,
  deploy: nullable(deploy),
  devices: strings,
  dns: stringOrStrings,
  dns_opt: strings,
  dns_search: stringOrStrings,
  domainname: string,
  entrypoint: command,
  env_file: stringOrStrings,
  environment: pairs,
  expose: list(scalar),
  external_links: strings,
  extra_hosts: pairs,
  healthcheck: object({
    disable: boolean,
    interval: string,
    retries: integer,
    test: stringOrStrings,
    timeout: string,
    start_period: string,
    start_interval: string,
  }),
  hostname: string,
  image: string,
  init: boolean,
  ipc: string,
  isolation: string,
  labels: pairs,
  links: strings,
  logging: object({ driver: string, options: map(nullable(scalar)) }),
  mac_address: string,
  network_mode: string,
  networks: either('a list of names or a mapping', strings, map(networkUse)),
  oom_score_adj: integer,
  pid: nullable(string),
  ports: list(port),
  privileged: boolean,
  read_only: boolean,
  restart: string,
  secrets: list(fileUse),
  security_opt: strings,
  shm_size: size,
  stdin_open: boolean,
  stop_grace_period: string,
  stop_signal: string,
  sysctls: pairs,
  tmpfs: stringOrStrings,
  tty: boolean,
  ulimits: map(
    either('a number or soft and hard', integer, object({ hard: integer, soft: integer }, ['soft', 'hard'])),
  ),
  user: string,
  userns_mode: string,
  volumes: list(volume),
  working_dir: string,
});

const network = nullable(
  object({
    name: string,
    driver: string,
    driver_opts: map(scalar),
    enable_ipv6: boolean,
    ipam: object({
      driver: string,
      options: map(scalar),
      config: list(object({ subnet: string, ip_range: string, gateway: string, aux_addresses: map(string) })),
    }),
    external,
    internal: boolean,
    attachable: boolean,
    labels: pairs,
  }),
);

const volumeEntry = nullable(
  object({ name: string, driver: string, driver_opts: map(scalar), external, labels: pairs }),
);

const config = object({ name: string, file: string, external, labels: pairs, template_driver: string });

const secret = object({
  name: string,
  file: string,
  external,
  labels: pairs,
  driver: string,
  driver_opts: map(scalar),
  template_driver: string,
});

export const fileShape: Shape = object({
  version: scalar,
  services: map(service),
  networks: map(network),
  volumes: map(volumeEntry),
  secrets: map(secret),
  configs: map(config),
});

/** Keys of a service that need another orchestrator; the file is refused. */
export const forbiddenKeys: Readonly<Record<string, string>> = {
  extends: 'Support for `extends` is not implemented yet.',
  volume_driver:
    'Instead of setting the volume driver on the service, define a volume using the top-level `volumes` option and specify the driver there.',
  volumes_from:
    'To share a volume between services, define it using the top-level `volumes` option and reference it from each service that shares it using the service-level `volumes` option.',
  cpu_quota: 'Set resource limits using deploy.resources',
  cpu_shares: 'Set resource limits using deploy.resources',
  cpuset: 'Set resource limits using deploy.resources',
  mem_limit: 'Set resource limits using deploy.resources',
  memswap_limit: 'Set resource limits using deploy.resources',
};

/** Keys of a service that mean something to other tools and nothing here; reported. */
export const ignoredKeys: readonly string[] = [
  'build',
  'cgroupns_mode',
  'cgroup_parent',
  'depends_on',
  'devices',
  'domainname',
  'external_links',
  'ipc',
  'links',
  'mac_address',
  'pid',
  'privileged',
  'restart',
  'security_opt',
  'shm_size',
  'tmpfs',
  'userns_mode',
];

/** The same for keys of a service's networks: addresses are the cluster's to give. */
export const ignoredNetworkKeys: readonly string[] = [
  'ipv4_address',
  'ipv6_address',
  'link_local_ips',
  'mac_address',
  'priority',
];

export const deprecatedKeys: Readonly<Record<string, string>> = {
  container_name: 'Setting the container name is not supported.',
  expose:
    "Exposing ports is unnecessary - services on the same network can access each other's containers on any port.",
};
