import { describe, expect, test } from 'vitest';
import { compileTemplate } from './template.ts';

const data = {
  Name: 'web',
  Count: 3,
  Labels: { b: '2', a: '1' },
  Ports: [80, 443],
  Empty: [],
  Spec: { Mode: { Replicated: { Replicas: 2 } } },
  Label: (key: unknown) => `label ${String(key)}`,
  Flag: false,
};

describe('templates', () => {
  test.each([
    ['{{.Name}}', 'web'],
    ['{{ .Name }}-{{.Count}}', 'web-3'],
    ['{{json .}}', undefined],
    ['{{json .Labels}}', '{"b":"2","a":"1"}'],
    ['{{.Labels}}', 'map[a:1 b:2]'],
    ['{{.Ports}}', '[80 443]'],
    ['{{.Spec.Mode.Replicated.Replicas}}', '2'],
    ['{{.Spec.Nothing.There}}', '<no value>'],
    ['{{range .Ports}}{{.}};{{end}}', '80;443;'],
    ['{{range $i, $p := .Ports}}{{$i}}={{$p}} {{end}}', '0=80 1=443 '],
    ['{{range $k, $v := .Labels}}{{$k}}{{$v}}{{$.Name}} {{end}}', 'a1web b2web '],
    ['{{range .Empty}}x{{else}}none{{end}}', 'none'],
    ['{{if .Flag}}yes{{else if eq .Count 3}}three{{else}}no{{end}}', 'three'],
    ['{{with .Spec.Mode}}{{.Replicated.Replicas}}{{end}}', '2'],
    ['{{index .Ports 1}} {{index .Labels "a"}}', '443 1'],
    ['{{join (split "a,b" ",") "-"}}', 'a-b'],
    ['{{upper .Name}} {{.Name | upper | lower}}', 'WEB web'],
    ['{{printf "%-5s|%d|%q" .Name .Count "x"}}', 'web  |3|"x"'],
    ['{{len .Ports}} {{len .Name}}', '2 3'],
    ['{{.Label "x y"}}', 'label x y'],
    ['a {{- "b" -}} c', 'abc'],
    ['{{/* nothing */}}x', 'x'],
    ['{{$x := .Count}}{{if gt $x 2}}many{{end}}', 'many'],
    ['{{if and .Name (not .Flag)}}both{{end}}', 'both'],
    ['{{"}}"}}', '}}'],
  ])('%s', (template, expected) => {
    if (expected !== undefined) expect(compileTemplate(template).render(data)).toBe(expected);
    else expect(JSON.parse(compileTemplate(template).render(data))).toMatchObject({ Name: 'web' });
  });

  test.each([
    ['{{.Nope}}', "can't evaluate field Nope"],
    ['{{nope .Name}}', 'function "nope" not defined'],
    ['{{.Name', 'unclosed action'],
    ['{{if .Name}}x', '{{end}} is missing'],
    ['{{end}}', 'unexpected {{end}}'],
    ['{{.Name !}}', 'unexpected "!"'],
    ['{{"abc}}', 'unterminated quoted string'],
    ['{{index .Ports 7}}', 'index out of range'],
    ['{{pad .Name 99999999 0}}', 'invalid width'],
    [`${'{{if .Name}}'.repeat(200)}`, 'nested too deeply'],
  ])('%s is refused', (template, message) => {
    expect(() => compileTemplate(template).render(data)).toThrow(message);
  });
});
