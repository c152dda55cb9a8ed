/** A span in words, rounded as Docker does: `6 seconds`, `About a minute`, `2 hours`. */
export function humanDuration(spanMs: number): string {
  const seconds = Math.floor(spanMs / 1000);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.floor(minutes / 60 + 0.5);
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  const days = Math.floor(hours / 24);
  if (hours < 24 * 7 * 2) return `${days} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(days / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(days / 30)} months`;
  return `${Math.floor(days / 365)} years`;
}

export function ago(timestamp: string | undefined, nowMs: number): string {
  const at = Date.parse(timestamp ?? '');
  return Number.isNaN(at) ? '' : `${humanDuration(Math.max(nowMs - at, 0))} ago`;
}
