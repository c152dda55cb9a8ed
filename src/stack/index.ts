export type { FilePlan, NetworkPlan, ServicePlan, StackPlan } from './convert.ts';
export { imageLabel, namespaceLabel } from './names.ts';
export { type LoadedStack, loadStack, planStack } from './read.ts';
export { renderStack } from './render.ts';
