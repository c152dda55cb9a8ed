const idLength = 12;

export function shortId(id: string): string {
  return id.slice(0, idLength);
}

/** `running` → `Running`, as Docker shows states. */
export function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const collator = new Intl.Collator('en', { numeric: true });

/** `web.2` before `web.10`. */
export function naturally(a: string, b: string): number {
  return collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

/** Cuts to `width` characters, marking the cut. */
export function ellipsis(text: string, width: number): string {
  const chars = [...text];
  return chars.length <= width ? text : `${chars.slice(0, width - 1).join('')}…`;
}

/** `nginx:1.27@sha256:…` → `nginx:1.27`; without a tag, Docker shows the name alone. */
export function imageWithoutDigest(image: string): string {
  const at = image.indexOf('@');
  return at < 0 ? image : image.slice(0, at);
}
