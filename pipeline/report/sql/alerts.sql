-- What people were told within the time asked for: a row an alert or group of alerts, by name and subject; firing first.
SELECT
    argMax(row.State, Told) AS state,
    argMax(row.Severity, Told) AS severity,
    row.Name AS alert,
    row.Subject AS subject,
    countIf(row.State = 'firing') AS told,
    sum(toUInt64OrZero(row.Labels['suppressed'])) AS suppressed,
    toDateTime(min(row.Timestamp)) AS `first`,
    toDateTime(max(row.Timestamp)) AS `last`,
    substringUTF8(splitByChar('\n', argMax(row.Text, Told))[1], 1, 100) AS text,
    argMax(row.Runbook, Told) AS runbook,
    argMaxIf(row.TraceIds, Told, notEmpty(row.TraceIds))[1] AS trace
FROM (
    -- Of what was told at one moment, the end is the last word.
    SELECT *, (Timestamp, State = 'resolved') AS Told
    FROM {table:Identifier}
) AS row
WHERE {since:UInt32} = 0 OR row.Timestamp >= now64(9) - toIntervalSecond({since:UInt32})
GROUP BY row.Name, row.Subject
ORDER BY state = 'firing' DESC, indexOf(['critical', 'warning', 'info'], severity), `last` DESC, subject
