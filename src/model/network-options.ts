/** Driver options of networks that mean something. */

export const mtuOption = 'com.docker.network.driver.mtu';
export const mtuMin = 68;
export const mtuMax = 65_535;
/** One VXLAN id of the user's choice. */
export const vxlanIdOption = 'com.docker.network.driver.overlay.vxlanid_list';
export const vxlanIdMax = 2 ** 24 - 1;
/** `true`: its subnets may be those of other networks, too. Networks are apart, so it works; a service cannot be on both. */
export const sharedSubnetOption = 'tscluster.shared-subnet';
/** Interface of the hosts that macvlan and ipvlan networks are on. */
export const parentOption = 'parent';
export const macvlanModeOption = 'macvlan_mode';
export const macvlanModes = ['bridge', 'private', 'vepa', 'passthru'] as const;
export const ipvlanModeOption = 'ipvlan_mode';
export const ipvlanModes = ['l2', 'l3', 'l3s'] as const;
