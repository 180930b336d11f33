// Which point of points.ts is next: each comes up once before any comes up again, and one that a life
// did not get to in time comes back at the end, with fewer passes, until it was hit. So a campaign of 50
// rounds passes all of them on a machine that keeps up.

import type { Random } from '../support/seed.ts';
import type { Points } from './points.ts';

/** SIGKILL at the `hit`-th pass of `point`. */
export interface Kill {
  readonly point: string;
  readonly hit: number;
}

export class KillPlan {
  /** How often each point was hit; those that never were are there with 0. */
  readonly hits: ReadonlyMap<string, number>;
  readonly #hits: Map<string, number>;
  readonly #random: Random;
  readonly #points: Points;
  #line: Kill[] = [];

  constructor(points: Points, random: Random) {
    this.#random = random;
    this.#points = points;
    this.#hits = new Map(Object.keys(points).map((point) => [point, 0]));
    this.hits = this.#hits;
  }

  /** The next one of the first group that has one left in this turn. */
  next(...groups: readonly Points[]): Kill {
    if (this.#line.length === 0) this.#line = this.#newTurn();
    for (const group of groups) {
      const index = this.#line.findIndex(({ point }) => point in group);
      if (index >= 0) return this.#line.splice(index, 1)[0]!;
    }
    return this.#newTurn().find(({ point }) => groups.some((group) => point in group))!;
  }

  /** Are some left that were never hit? */
  get isDue(): boolean {
    return [...this.#hits.values()].includes(0);
  }

  noteHit({ point }: Kill): void {
    this.#hits.set(point, (this.#hits.get(point) ?? 0) + 1);
  }

  noteMissed({ point, hit }: Kill): void {
    // One that was hit before comes round again anyway.
    if (this.#hits.get(point) !== 0) return;
    this.#line.push({ point, hit: Math.ceil(hit / 4) });
  }

  /** All points in random order. */
  #newTurn(): Kill[] {
    const random = this.#random;
    return Object.entries(this.#points)
      .map(([point, hitsMax]) => ({ place: random.next(), point, hit: random.integer(1, hitsMax) }))
      .toSorted((a, b) => a.place - b.place)
      .map(({ point, hit }) => ({ point, hit }));
  }
}
