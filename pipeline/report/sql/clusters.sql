-- Clusters of failures that changed within the time asked for, as they are now; those that go on first.
SELECT
    State AS state,
    arrayStringConcat(JobClasses, ', ') AS classes,
    Failures AS failures,
    ErrorType AS error,
    ErrorCategory AS category,
    if(
        empty(Causes),
        '',
        concat(
            Causes[1].1, ' = ', Causes[1].2, ': ', toString(round(100 * Causes[1].3)), ' % of failures',
            if(isNull(Causes[1].4), '', concat(', ', toString(round(100 * Causes[1].4)), ' % of successes'))
        )
    ) AS `in common`,
    Rule AS rule,
    toDateTime(OpenedAt) AS opened,
    toDateTime(LastSeenAt) AS `last seen`,
    substringUTF8(splitByChar('\n', SampleMessages[1])[1], 1, 80) AS `a message`,
    SampleTraceIds[1] AS trace,
    ClusterId AS cluster
FROM (
    -- The last change of each. At one moment the one with more failures came later.
    SELECT *
    FROM {table:Identifier}
    WHERE {since:UInt32} = 0 OR Timestamp >= now64(9) - toIntervalSecond({since:UInt32})
    ORDER BY Timestamp DESC, Failures DESC
    LIMIT 1 BY ClusterId
)
ORDER BY state = 'resolved', `last seen` DESC, cluster
