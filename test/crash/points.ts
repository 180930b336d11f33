// The named points of the crash campaign: where in hoplog's work SIGKILL comes, and how often a life
// passes there. kill-point-preload.ts watches for one of them, campaign.ts chooses which.
// Each name with `recovery: ` in front is the same point in a life without load, which only recovers
// what the last ones left and delivers it.

/** Name → N: the kill comes at one of the first N passes. */
export type Points = Readonly<Record<string, number>>;

/** Passed whether or not Kafka is there. */
export const POINTS_OF_REQUESTS: Points = {
  // Request to journal. Between append and answer the client knows nothing, behind it everything.
  'before an append': 1000,
  'before a live mark': 1000,
  'after a live mark': 1000,
  'after an append': 1000,
  'after an answer': 1000,
  'before a seal': 30,
  'within a seal': 250,
  'after a seal': 30,
  // From segment to segment.
  'before a segment is closed': 4,
  'after a segment is closed': 4,
  'before the next segment': 4,
  'after the next segment': 4,
  'before a synced mark': 3,
  'after a synced mark': 3,
  'before an fdatasync': 3,
  'after an fdatasync': 3,
};

/** Passed for certain only while Kafka is away or the journal is empty: else segments are recycled. */
export const POINTS_OF_GROWTH: Points = {
  'before a new segment begins': 2,
  'after a new segment begins': 2,
};

export const POINTS_OF_SENDING: Points = {
  'before a stamp': 30,
  'within a stamp': 200,
  'after a stamp': 30,
  'before a send': 30,
  'after a send': 30,
  "after Kafka's answer": 20,
  'before an acknowledgement': 20,
  'after an acknowledgement': 20,
  'before the cursor is saved': 20,
  'after the cursor is saved': 20,
  // And round again.
  'before a segment is released': 3,
  'after a segment is released': 3,
  'before a segment is recycled': 2,
  'within the recycling of a segment': 6,
  'after a segment is recycled': 2,
};

export const POINTS_UNDER_LOAD: Points = {
  ...POINTS_OF_REQUESTS,
  ...POINTS_OF_GROWTH,
  ...POINTS_OF_SENDING,
};

export const POINTS_IN_RECOVERY: Points = {
  'recovery: before marks are proven': 2,
  'recovery: after marks are proven': 2,
  'recovery: within sealing from a mark': 9,
  'recovery: before marks are retired': 1,
  'recovery: after marks are retired': 1,
  'recovery: before a segment is recycled': 1,
  'recovery: after a segment is recycled': 1,
  'recovery: before an inquiry': 2,
  'recovery: after an inquiry': 2,
  'recovery: before a send': 3,
  'recovery: after a send': 3,
  'recovery: before the cursor is saved': 3,
  'recovery: after the cursor is saved': 3,
};
