CREATE VIEW IF NOT EXISTS {table} {on_cluster}
AS SELECT
    ErrorFingerprint,
    min(Timestamp) AS FirstSeen,
    max(Timestamp) AS LastSeen,
    count() AS Failures,
    countIf(Outcome = 'retried') AS Retried,
    countIf(Outcome = 'discarded') AS Discarded,
    uniqExactIf((System, JobId), JobId != '') AS Jobs,
    arraySort(groupUniqArray(toString(JobClass))) AS JobClasses,
    argMax(ErrorType, (Timestamp, SpanId)) AS ErrorType,
    argMax(ErrorCategory, (Timestamp, SpanId)) AS ErrorCategory,
    argMax(ErrorTransient, (Timestamp, SpanId)) AS ErrorTransient,
    argMax(ErrorMessage, (Timestamp, SpanId)) AS ExampleMessage,
    argMax(TraceId, (Timestamp, SpanId)) AS ExampleTraceId,
    argMax(SpanId, (Timestamp, SpanId)) AS ExampleSpanId
FROM {source} AS row FINAL
WHERE row.Operation = 'process'
    AND (row.Outcome IN ('failed', 'retried')
        OR (row.Outcome = 'discarded' AND (row.ErrorFingerprint != '' OR row.ErrorType != '')))
GROUP BY row.ErrorFingerprint, if(row.ErrorFingerprint = '', row.ErrorType, '')
