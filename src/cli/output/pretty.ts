/** Lines of `--pretty` texts: `Name:<tab>value`, with parts that are not there left out. */
export type PrettyValue = string | number | boolean | undefined;

export function line(label: string, value: PrettyValue, indent = 0): string {
  if (value === undefined || value === '') return '';
  return `${' '.repeat(indent)}${`${label}:`.padEnd(24 - indent)}${String(value)}\n`;
}

export function heading(label: string, body: string, indent = 0): string {
  return body === '' ? '' : `${' '.repeat(indent)}${label}:\n${body}`;
}

export function labelLines(labels: Readonly<Record<string, string>> | null | undefined, indent = 1): string {
  return Object.keys(labels ?? {})
    .sort()
    .map((key) => `${' '.repeat(indent)}- ${key}=${labels?.[key] ?? ''}\n`)
    .join('');
}
