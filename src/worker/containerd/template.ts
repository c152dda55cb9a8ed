/** Managers expand host names, too: they are among what a container answers to. */
export { expandTemplate, type TemplateContext } from '../../model/template.ts';
