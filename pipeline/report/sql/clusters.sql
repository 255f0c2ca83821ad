-- Clusters of failures that changed within the time asked for, as they are now; those that go on first.
SELECT
    argMax(State, (Timestamp, Failures)) AS state,
    arrayStringConcat(argMax(JobClasses, (Timestamp, Failures)), ', ') AS classes,
    argMax(Failures, (Timestamp, Failures)) AS failures,
    argMax(ErrorType, (Timestamp, Failures)) AS error,
    argMax(ErrorCategory, (Timestamp, Failures)) AS category,
    if(
        empty(argMax(Causes, (Timestamp, Failures))),
        '',
        concat(
            argMax(Causes, (Timestamp, Failures))[1].1, ' = ', argMax(Causes, (Timestamp, Failures))[1].2, ': ',
            toString(round(100 * argMax(Causes, (Timestamp, Failures))[1].3)), ' % of failures',
            if(
                isNull(argMax(Causes, (Timestamp, Failures))[1].4),
                '',
                concat(', ', toString(round(100 * argMax(Causes, (Timestamp, Failures))[1].4)), ' % of successes')
            )
        )
    ) AS `in common`,
    argMax(Rule, (Timestamp, Failures)) AS rule,
    toDateTime(any(OpenedAt)) AS opened,
    toDateTime(max(LastSeenAt)) AS `last seen`,
    substringUTF8(splitByChar('\n', argMax(SampleMessages, (Timestamp, Failures))[1])[1], 1, 80) AS `a message`,
    argMax(SampleTraceIds, (Timestamp, Failures))[1] AS trace,
    ClusterId AS cluster
FROM {table:Identifier}
WHERE {since:UInt32} = 0 OR Timestamp >= now64(9) - toIntervalSecond({since:UInt32})
GROUP BY ClusterId
ORDER BY state = 'resolved', `last seen` DESC, cluster
