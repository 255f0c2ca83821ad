-- Rows of jobs: of a trace, with some ids, or with some parents; all of them where nothing of it is given. Ids and
-- parents are filled in as arrays of hex digits.
SELECT
    System AS system,
    JobClass AS job_class,
    JobId AS job_id,
    Operation AS operation,
    Outcome AS outcome,
    ErrorType AS error_type,
    ServiceName AS service,
    TraceId AS trace_id,
    SpanId AS span_id,
    toUnixTimestamp64Nano(Timestamp) AS at,
    Duration AS duration,
    toUnixTimestamp64Nano(EnqueuedAt) AS enqueued_at,
    toUnixTimestamp64Nano(ScheduledFor) AS scheduled_for,
    IsRetryEnqueue AS is_retry_enqueue,
    ParentJobId AS parent_job_id,
    ParentJobClass AS parent_job_class
FROM {table:Identifier} FINAL
WHERE JobId != ''
    AND ({since:UInt32} = 0 OR Timestamp >= now64(9) - toIntervalSecond({since:UInt32}))
    AND (
        TraceId = {trace:String}
        OR has(arrayMap(x -> unhex(x), {ids}), JobId)
        OR has(arrayMap(x -> unhex(x), {parents}), ParentJobId)
        OR ({trace:String} = '' AND empty({ids}) AND empty({parents}))
    )
LIMIT {most:UInt32}
