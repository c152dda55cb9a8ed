import { describe, expect, test } from 'vitest';
import { expandTemplate, type TemplateContext } from './template.ts';

const context: TemplateContext = {
  Service: { ID: 'sid', Name: 'web', Labels: { 'a.b': 'dotted', plain: 'x' } },
  Node: { ID: 'nid', Hostname: 'host', Platform: { Architecture: 'x86_64', OS: 'linux' } },
  Task: { ID: 'tid', Name: 'web.1.tid', Slot: '1' },
};
const expand = (text: string) => expandTemplate(text, context, 'env');

describe('templates', () => {
  test.each([
    ['plain', 'plain'],
    ['{{.Service.Name}}-{{ .Task.Slot }}', 'web-1'],
    ['{{- .Node.Hostname -}}', 'host'],
    ['{{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}', 'linux/x86_64'],
    ['{{index .Service.Labels "a.b"}}', 'dotted'],
    ['{{index .Service.Labels "none"}}', ''],
    ['{{.Service.Labels.plain}}', 'x'],
    ['{{"{{"}}', '{{'],
    ['{{`}}`}}', '}}'],
  ])('%j becomes %j', (text, expected) => {
    expect(expand(text)).toBe(expected);
  });

  test.each([
    ['{{.Service.Nope}}', "can't evaluate field Nope"],
    ['{{.Service.constructor}}', "can't evaluate field constructor"],
    ['{{.Service}}', 'is not a text'],
    ['{{if true}}x{{end}}', 'unsupported template'],
    ['{{.Service.Name', 'unclosed action'],
  ])('%j is refused', (text, reason) => {
    expect(() => expand(text)).toThrow('expanding env failed: ');
    expect(() => expand(text)).toThrow(reason);
  });
});
