import { describe, expect, test } from 'vitest';
import { checkAddressPlan, planAddresses } from './address-plan.ts';
import { overlaps, parseBlock } from './ip.ts';
import { defaultClusterNetwork } from './network.ts';

const block = (text: string) => parseBlock(text) ?? { family: 4 as const, base: 0n, prefix: 0, size: 0n };
const eth0 = (cidr: string) => [{ name: 'eth0', cidr }];

describe('address plan', () => {
  test('without wishes, on a host elsewhere, is the default', () => {
    expect(planAddresses({}, eth0('203.0.113.7/24'))).toEqual(defaultClusterNetwork);
  });

  test('defaults leave out the networks that the host is on', () => {
    const plan = planAddresses({}, [
      { name: 'eth0', cidr: '10.0.1.5/16' },
      { name: 'docker0', cidr: '172.29.0.1/16' },
    ]);
    expect(plan.addressPools[0]).toBe('10.1.0.0/16');
    expect(plan.addressPools.at(-1)).toBe('10.128.0.0/9');
    expect(plan.gatewayPools).toEqual(['172.28.0.0/16', '172.30.0.0/15']);
    const host = ['10.0.1.5/16', '172.29.0.1/16'].map((text) => parseBlock(text));
    for (const pool of [...plan.addressPools, ...plan.gatewayPools, plan.ingressPool]) {
      const block = parseBlock(pool);
      expect(host.some((own) => own !== undefined && block !== undefined && overlaps(own, block))).toBe(false);
    }
  });

  test('a host that is on all of 10/8 gets another block', () => {
    const plan = planAddresses({}, eth0('10.3.4.5/8'));
    expect(plan.addressPools[0]).toMatch(/^192\.168\./);
    expect(plan.ingressPool).toBe('172.27.0.0/16');
  });

  test('defaults keep clear of what was asked for', () => {
    const plan = planAddresses({ addressPools: ['10.0.0.0/8'], gatewayPools: ['172.28.0.0/16'] }, []);
    expect(plan).toMatchObject({ gatewayPools: ['172.28.0.0/16'], ingressPool: '172.27.0.0/16' });
    expect(planAddresses({ addressPools: ['10.7.8.9/16'] }, []).addressPools).toEqual(['10.7.0.0/16']);
    expect(planAddresses({ gatewayPools: ['10.0.0.0/9'] }, []).addressPools).toEqual(['10.128.0.0/9']);
  });

  test.each([
    [{ addressPools: ['10.20.0.0'] }, 'invalid base pool "10.20.0.0": invalid CIDR address: 10.20.0.0'],
    [{ addressPools: ['10.20.0.0/26'] }, 'invalid CIDR: "10.20.0.0/26". Subnet size is too small: 24'],
    [{ addressPools: ['fd00::/48'] }, 'invalid base pool "fd00::/48": IPv4 is needed for --default-addr-pool'],
    [{ subnetSize: 30 }, 'subnet size is out of range: 30'],
    [{ dataPathPort: 80 }, 'VXLAN UDP port number is not in valid range (1024-49151): 80'],
    [
      { addressPools: ['10.20.0.0/16'], ingressPool: '10.20.3.0/24' },
      'address pools overlap: --default-addr-pool 10.20.0.0/16 and --ingress-pool 10.20.3.0/24',
    ],
  ])('%j is refused', (wish, message) => {
    expect(() => checkAddressPlan(wish)).toThrow(message);
  });

  test('defaults keep clear of what the host has routes to, as far as anything else is left', () => {
    const vpn = { name: 'wg0', cidr: '172.16.0.0/12' };
    const plan = planAddresses({}, eth0('203.0.113.7/24'), [vpn, { name: 'eth1', cidr: '10.8.0.0/24' }]);
    expect(plan.gatewayPools).toEqual(['192.168.128.0/17']);
    expect(plan.addressPools).not.toContain('10.0.0.0/8');
    expect(plan.addressPools.some((pool) => overlaps(block(pool), block('10.8.0.0/24')))).toBe(false);
    const all = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'].map((cidr) => ({ name: 'wg0', cidr }));
    expect(planAddresses({}, eth0('203.0.113.7/24'), all)).toEqual(defaultClusterNetwork);
    expect(planAddresses({}, eth0('172.28.0.1/14'), all).gatewayPools).toEqual(['172.24.0.0/14']);
  });

  test('what was asked for may lie within a route: whoever asks knows', () => {
    const vpn = [{ name: 'wg0', cidr: '10.0.0.0/8' }];
    expect(planAddresses({ addressPools: ['10.77.0.0/16'] }, [], vpn).addressPools).toEqual(['10.77.0.0/16']);
  });

  test('a pool that the host is on is refused with the interface and the flag', () => {
    expect(() => planAddresses({ gatewayPools: ['192.168.0.0/16'] }, eth0('192.168.7.1/24'))).toThrow(
      'address pool 192.168.0.0/16 overlaps 192.168.7.0/24, which interface eth0 of this host is on: choose another with --gateway-pool',
    );
  });
});
