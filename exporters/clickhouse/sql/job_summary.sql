CREATE VIEW IF NOT EXISTS {table} {on_cluster}
AS SELECT
    toStartOfMinute(Timestamp) AS Minute,
    JobClass,
    count() AS Executions,
    countIf(Outcome = 'succeeded') AS Succeeded,
    countIf(Outcome IN ('failed', 'retried')) AS Failures,
    countIf(Outcome = 'retried') AS Retried,
    countIf(Outcome = 'discarded') AS Discarded,
    quantileExact(0.5)(Duration) AS DurationP50,
    quantileExact(0.95)(Duration) AS DurationP95,
    quantileExact(0.99)(Duration) AS DurationP99,
    quantileExact(0.5)(QueueLatency) AS QueueLatencyP50,
    quantileExact(0.95)(QueueLatency) AS QueueLatencyP95,
    quantileExact(0.99)(QueueLatency) AS QueueLatencyP99
FROM {source} FINAL
WHERE Operation = 'process'
GROUP BY Minute, JobClass
