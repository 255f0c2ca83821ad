-- Executions that started within the time asked for, per job class. Failures are `failed` and `retried` executions.
SELECT
    JobClass AS class,
    arrayStringConcat(arraySort(groupUniqArrayIf(toString(Queue), Queue != '')), ', ') AS queues,
    count() AS executions,
    countIf(Outcome IN ('failed', 'retried')) AS failures,
    round(100 * failures / executions, 1) AS `failures %`,
    countIf(Outcome = 'retried') AS retried,
    countIf(Outcome = 'discarded') AS discarded,
    round(quantileExact(0.5)(Duration) / 1e6, 1) AS `p50 ms`,
    round(quantileExact(0.95)(Duration) / 1e6, 1) AS `p95 ms`,
    round(quantileExact(0.99)(Duration) / 1e6, 1) AS `p99 ms`,
    round(quantileExact(0.5)(QueueLatency) / 1e6, 1) AS `queue p50 ms`,
    round(quantileExact(0.95)(QueueLatency) / 1e6, 1) AS `queue p95 ms`,
    round(quantileExact(0.99)(QueueLatency) / 1e6, 1) AS `queue p99 ms`,
    toDateTime(max(Timestamp)) AS `last start`
FROM {table:Identifier} FINAL
WHERE Operation = 'process'
    AND ({since:UInt32} = 0 OR Timestamp >= now64(9) - toIntervalSecond({since:UInt32}))
GROUP BY JobClass
ORDER BY executions DESC, class
