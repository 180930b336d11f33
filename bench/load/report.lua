-- One line of JSON from wrk, exact where its own summary rounds; wrk.ts reads it.
-- It defines `done` alone: wrk then still sends one prepared request over and over, and Lua costs
-- nothing during the burst.
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nhoplog {"requests":%d,"durationUs":%d,"bad":%d,"socketErrors":%d,"p50Us":%d,"p99Us":%d}\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
