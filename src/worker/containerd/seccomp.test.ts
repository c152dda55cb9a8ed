import { describe, expect, test } from 'vitest';
import { defaultCapabilities, resolveCapabilities } from './capabilities.ts';
import { defaultSeccomp } from './seccomp.ts';

const context = { arch: 'x64', kernel: '6.1.0-18-amd64', capabilities: defaultCapabilities };
const allowed = (profile: ReturnType<typeof defaultSeccomp>, name: string) =>
  profile.syscalls.some(
    (rule) => rule.action === 'SCMP_ACT_ALLOW' && rule.args === undefined && rule.names.includes(name),
  );

describe('the system call filter', () => {
  test('refuses by default, and lists the native architecture only', () => {
    const profile = defaultSeccomp(context);
    expect([profile.defaultAction, profile.defaultErrnoRet, profile.architectures]).toEqual([
      'SCMP_ACT_ERRNO',
      1,
      ['SCMP_ARCH_X86_64'],
    ]);
  });

  test('default capabilities do not open dangerous calls', () => {
    const profile = defaultSeccomp(context);
    for (const name of [
      'mount',
      'unshare',
      'setns',
      'bpf',
      'clone',
      'clone3',
      'keyctl',
      'add_key',
      'kexec_load',
      'io_uring_setup',
      'reboot',
      'socket',
      'personality',
      'userfaultfd',
    ]) {
      expect(allowed(profile, name), name).toBe(false);
    }
    for (const name of ['read', 'openat', 'execve', 'futex', 'chroot', 'ptrace', 'arch_prctl', 'epoll_pwait2']) {
      expect(allowed(profile, name), name).toBe(true);
    }
  });

  test('SYS_ADMIN opens mount and clone without the check of its flags', () => {
    const profile = defaultSeccomp({ ...context, capabilities: [...defaultCapabilities, 'CAP_SYS_ADMIN'] });
    expect(allowed(profile, 'mount') && allowed(profile, 'clone') && allowed(profile, 'clone3')).toBe(true);
    expect(profile.syscalls.some((rule) => rule.names.includes('clone') && rule.args !== undefined)).toBe(false);
  });

  test('old kernels keep ptrace closed', () => {
    expect(allowed(defaultSeccomp({ ...context, kernel: '4.7.9' }), 'ptrace')).toBe(false);
    expect(allowed(defaultSeccomp({ ...context, kernel: '4.8' }), 'ptrace')).toBe(true);
  });

  test('clone3 answers "not implemented", so that C libraries fall back', () => {
    expect(defaultSeccomp(context).syscalls).toContainEqual({
      names: ['clone3'],
      action: 'SCMP_ACT_ERRNO',
      errnoRet: 38,
    });
  });
});

describe('capabilities', () => {
  test.each([
    [[], [], defaultCapabilities],
    [['NET_ADMIN'], [], [...defaultCapabilities, 'CAP_NET_ADMIN']],
    [['cap_kill'], ['ALL'], ['CAP_KILL']],
    [[], ['KILL'], defaultCapabilities.filter((name) => name !== 'CAP_KILL')],
    [['ALL'], ['SYS_ADMIN'], ['CAP_CHOWN']],
  ])('add %j, drop %j', (add, drop, expected) => {
    expect(resolveCapabilities(add, drop, ['CAP_CHOWN', 'CAP_SYS_ADMIN'])).toEqual(expected);
  });

  test('an unknown name is refused', () => {
    expect(() => resolveCapabilities(['FLY'], [])).toThrow('invalid capability: "FLY"');
  });
});
