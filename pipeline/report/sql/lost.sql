-- Jobs that were enqueued within the time asked for, are due since longer than `after`, and have no execution. A job that
-- put itself back is lost if no execution started after that, so its earlier ones do not count.
WITH
    executions AS (
        SELECT System, if(System = 'bullmq', Queue, '') AS Scope, JobId, max(Timestamp) AS LastStart
        FROM {table:Identifier} FINAL
        WHERE Operation = 'process'
            AND JobId != ''
            -- Clocks differ: an execution may seem to have started before the job was enqueued.
            AND ({since:UInt32} = 0 OR Timestamp >= now64(9) - toIntervalSecond({since:UInt32}) - toIntervalHour(1))
        GROUP BY System, Scope, JobId
    ),
    matched AS (
        SELECT EnqueueSpanId
        FROM {table:Identifier} FINAL
        WHERE Operation = 'process'
            AND EnqueueSpanId != ''
            AND ({since:UInt32} = 0 OR Timestamp >= now64(9) - toIntervalSecond({since:UInt32}) - toIntervalHour(1))
    )
SELECT
    enqueue.JobClass AS class,
    enqueue.Queue AS queue,
    enqueue.JobId AS job,
    toDateTime(enqueue.Timestamp) AS enqueued,
    toDateTime(coalesce(enqueue.ScheduledFor, enqueue.Timestamp)) AS due,
    dateDiff('second', due, now()) AS `waiting s`,
    enqueue.ServiceName AS service,
    enqueue.TraceId AS trace
FROM (
    SELECT *, if(System = 'bullmq', Queue, '') AS Scope
    FROM {table:Identifier} FINAL
    WHERE Operation = 'enqueue'
        AND Outcome IN ('enqueued', 'scheduled')
        AND (JobId != '' OR BatchCount <= 1)
        AND ({since:UInt32} = 0 OR Timestamp >= now64(9) - toIntervalSecond({since:UInt32}))
) AS enqueue
LEFT JOIN executions ON enqueue.System = executions.System
    AND enqueue.Scope = executions.Scope
    AND enqueue.JobId = executions.JobId
WHERE (executions.JobId = '' OR (enqueue.IsRetryEnqueue AND executions.LastStart <= enqueue.Timestamp))
    AND enqueue.SpanId NOT IN (SELECT EnqueueSpanId FROM matched)
    AND coalesce(enqueue.ScheduledFor, enqueue.Timestamp) <= now64(9) - toIntervalSecond({after:UInt32})
ORDER BY `waiting s` DESC, job
