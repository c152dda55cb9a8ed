import type { Forecast } from '../../model/explain.ts';
import type { Context } from '../context.ts';
import { forecastText } from '../output/explain.ts';

/** The answer to a dry run. What would find no node makes the exit code 1, so that scripts can ask. */
export function showForecast(
  ctx: Context,
  { Warnings, Forecast: forecast }: { readonly Warnings?: readonly string[] | null; readonly Forecast: Forecast },
): void {
  for (const warning of Warnings ?? []) ctx.stderr.write(`${warning}\n`);
  ctx.stdout.write(forecastText(forecast));
  if (forecast.Created.some((place) => place.NodeID === '')) ctx.fail(1);
}
