export { imageLabel, namespaceLabel, type FilePlan, type NetworkPlan, type ServicePlan, type StackPlan } from './convert.ts';
export { type LoadedStack, loadStack, planStack } from './read.ts';
export { renderStack } from './render.ts';
