/**
 * Lines over time as SVG paths. Pure.
 *
 * A line breaks where a value is missing, and where two points are further apart than GAP_S: nothing is known of
 * the time between. A lone point is a short stroke.
 */
export interface Sample {
  /** Unix seconds. */
  readonly atS: number;
  readonly value: number | undefined;
}

export const GAP_S = 25;
const DOT_S = 5;

export interface Frame {
  readonly fromS: number;
  readonly toS: number;
  /** The value at the upper edge. */
  readonly most: number;
  readonly width: number;
  readonly height: number;
}

/** The `d` of a path; "" for nothing to draw. */
export function pathOf(samples: readonly Sample[], frame: Frame): string {
  const x = (atS: number) => (((atS - frame.fromS) / (frame.toS - frame.fromS)) * frame.width).toFixed(1);
  const y = (value: number) => (frame.height - (Math.min(value, frame.most) / frame.most) * frame.height).toFixed(1);
  let path = "";
  let last: Sample | undefined;
  for (const sample of samples) {
    if (sample.value === undefined || sample.atS < frame.fromS || sample.atS > frame.toS) continue;
    const joins = last !== undefined && sample.atS - last.atS <= GAP_S;
    path += joins ? `L${x(sample.atS)} ${y(sample.value)}` : `M${x(sample.atS - DOT_S)} ${y(sample.value)}L${x(sample.atS)} ${y(sample.value)}`;
    last = sample;
  }
  return path;
}

/** A round number that is no less: 1, 2 or 5 times a power of ten. */
export function roundUp(value: number): number {
  if (!(value > 0) || !Number.isFinite(value)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const factor = [1, 2, 5, 10].find((it) => it * power >= value * (1 - 1e-9)) ?? 10;
  return factor * power;
}
