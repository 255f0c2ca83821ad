-- Jobs that failed and ran again within the time asked for, those with most failures first. A loop is a job that has
-- failed five times or more with one and the same error, never succeeded, and is still being retried.
SELECT
    any(JobClass) AS class,
    any(Queue) AS queue,
    JobId AS job,
    count() AS executions,
    countIf(Outcome IN ('failed', 'retried')) AS failures,
    max(coalesce(Attempt, nullIf(AttemptInferred, 0))) AS attempt,
    max(MaxAttempts) AS `of`,
    argMax(Outcome, (Timestamp, SpanId)) AS `last outcome`,
    if(
        failures >= 5
            AND countIf(Outcome = 'succeeded') = 0
            AND `last outcome` = 'retried'
            AND uniqExactIf(
                if(ErrorFingerprint != '', ErrorFingerprint, ErrorType), Outcome IN ('failed', 'retried')
            ) = 1,
        'yes', ''
    ) AS loop,
    argMaxIf(ErrorType, (Timestamp, SpanId), Outcome IN ('failed', 'retried')) AS `last error`,
    toDateTime(min(Timestamp)) AS `first start`,
    toDateTime(max(Timestamp)) AS `last start`
FROM {table:Identifier} FINAL
WHERE Operation = 'process'
    AND JobId != ''
    AND ({since:UInt32} = 0 OR Timestamp >= now64(9) - toIntervalSecond({since:UInt32}))
GROUP BY System, if(System = 'bullmq', Queue, ''), JobId
HAVING countIf(Outcome = 'retried') > 0
ORDER BY failures DESC, `last start` DESC, job
