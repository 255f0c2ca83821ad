-- Failed executions that started within the time asked for, per fingerprint, or per error type where there is none.
SELECT
    any(row.ErrorFingerprint) AS fingerprint,
    argMax(row.ErrorType, (row.Timestamp, row.SpanId)) AS error,
    argMax(row.ErrorCategory, (row.Timestamp, row.SpanId)) AS category,
    multiIf(
        argMax(tuple(row.ErrorTransient), (row.Timestamp, row.SpanId)).1 IS NULL, '',
        argMax(tuple(row.ErrorTransient), (row.Timestamp, row.SpanId)).1, 'yes',
        'no'
    ) AS transient,
    count() AS failures,
    uniqExactIf((row.System, row.JobId), row.JobId != '') AS jobs,
    arrayStringConcat(arraySort(groupUniqArray(toString(row.JobClass))), ', ') AS classes,
    toDateTime(min(row.Timestamp)) AS `first seen`,
    toDateTime(max(row.Timestamp)) AS `last seen`,
    substringUTF8(
        splitByChar('\n', argMax(row.ErrorMessage, (row.Timestamp, row.SpanId)))[1], 1, 80
    ) AS `last message`,
    argMax(row.TraceId, (row.Timestamp, row.SpanId)) AS trace
FROM {table:Identifier} AS row FINAL
WHERE row.Operation = 'process'
    AND (row.Outcome IN ('failed', 'retried')
        OR (row.Outcome = 'discarded' AND (row.ErrorFingerprint != '' OR row.ErrorType != '')))
    AND ({since:UInt32} = 0 OR row.Timestamp >= now64(9) - toIntervalSecond({since:UInt32}))
GROUP BY row.ErrorFingerprint, if(row.ErrorFingerprint = '', row.ErrorType, '')
ORDER BY failures DESC, `last seen` DESC, error
