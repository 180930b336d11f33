// Numbers sorted into fixed ranges, as Prometheus' histograms have them. To observe is to add to two
// numbers: nothing is allocated, and nothing is computed until somebody reads.

export class Histogram {
  /** Upper bounds of the ranges, ascending, each included; above the last one is one more range. */
  readonly bounds: readonly number[];
  /** Of each range; not cumulative. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let range = 0;
    while (value > (this.bounds[range] ?? Infinity)) range++;
    this.counts[range] = (this.counts[range] ?? 0) + 1;
    this.sum += value;
  }
}
