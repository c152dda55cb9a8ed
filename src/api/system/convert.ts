import type { ManagerBackend, NodeInfo } from '../../model/control.ts';
import { time } from '../common.ts';
import type { ApiContext } from '../context.ts';
import { apiVersionMax, apiVersionMin } from '../respond.ts';
import { convertCluster } from '../swarm/convert.ts';

/** The `Swarm` header of `/_ping`. */
export function swarmHeader(info: NodeInfo): string {
  return info.state === 'active' ? `active/${info.role ?? 'worker'}` : info.state;
}

export function convertVersion(info: NodeInfo, version: string) {
  const details = {
    ApiVersion: apiVersionMax,
    MinAPIVersion: apiVersionMin,
    Os: info.os,
    Arch: goArchitecture(info.architecture),
    KernelVersion: info.kernel,
    GitCommit: '',
    GoVersion: '',
    BuildTime: '',
  };
  return {
    Platform: { Name: 'tscluster' },
    Components: [
      { Name: 'Engine', Version: version, Details: { ...details, Experimental: 'false' } },
      { Name: info.runtime.name, Version: info.runtime.version, Details: { GitCommit: '' } },
    ],
    Version: version,
    ...details,
  };
}

export function convertInfo(context: ApiContext, info: NodeInfo, backend: ManagerBackend | undefined) {
  const { running, stopped } = info.containers;
  return {
    ID: info.nodeId,
    Containers: running + stopped,
    ContainersRunning: running,
    ContainersPaused: 0,
    ContainersStopped: stopped,
    Images: 0,
    Driver: info.runtime.snapshotter,
    DriverStatus: [['driver-type', 'io.containerd.snapshotter.v1']],
    Plugins: {
      Volume: ['local'],
      Network: ['bridge', 'host', 'ipvlan', 'macvlan', 'null', 'overlay'],
      Authorization: null,
      Log: ['json-file'],
    },
    ...hostFacts(info),
    SystemTime: time(context.clock.now()),
    ServerVersion: context.version,
    Name: info.hostname,
    DockerRootDir: info.dataDir,
    Labels: [],
    ExperimentalBuild: false,
    LiveRestoreEnabled: true,
    Swarm: convertSwarmInfo(info, backend),
    Runtimes: { runc: { path: 'runc' } },
    DefaultRuntime: 'runc',
    InitBinary: '',
    ContainerdCommit: { ID: info.runtime.version },
    RuncCommit: { ID: '' },
    InitCommit: { ID: '' },
    SecurityOptions: ['name=seccomp,profile=builtin'],
    Warnings: null,
    RegistryConfig: {
      Mirrors: info.registryMirrors,
      InsecureRegistryCIDRs: [],
      IndexConfigs: Object.fromEntries(
        info.insecureRegistries.map((name) => [name, { Name: name, Mirrors: [], Secure: false, Official: false }]),
      ),
    },
  };
}

function hostFacts(info: NodeInfo) {
  return {
    MemoryLimit: true,
    SwapLimit: false,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    IPv4Forwarding: true,
    OomKillDisable: false,
    Debug: false,
    NFd: 0,
    NGoroutines: 0,
    NEventsListener: 0,
    LoggingDriver: 'json-file',
    CgroupDriver: 'cgroupfs',
    CgroupVersion: info.cgroupVersion ?? '',
    KernelVersion: info.kernel,
    OperatingSystem: 'Linux',
    OSVersion: '',
    OSType: info.os,
    Architecture: info.architecture,
    IndexServerAddress: 'https://index.docker.io/v1/',
    NCPU: info.cpus,
    MemTotal: info.memoryBytes,
  };
}

function convertSwarmInfo(info: NodeInfo, backend: ManagerBackend | undefined) {
  const head = {
    NodeID: info.nodeId,
    NodeAddr: info.nodeAddr,
    LocalNodeState: info.state,
    ControlAvailable: backend !== undefined,
    Error: info.error,
    RemoteManagers:
      info.managers.length === 0 ? null : info.managers.map(({ nodeId, addr }) => ({ NodeID: nodeId, Addr: addr })),
  };
  const cluster = backend?.view.cluster();
  if (backend === undefined || cluster === undefined) return head;
  const managers = [...backend.view.list('node')].filter((node) => node.spec.Role === 'manager').length;
  return { ...head, Nodes: backend.view.count('node'), Managers: managers, Cluster: convertCluster(cluster) };
}

function goArchitecture(architecture: string): string {
  const names: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' };
  return names[architecture] ?? architecture;
}
