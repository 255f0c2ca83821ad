-- The life of the jobs with this id, which another system may use, too: every event and how long the state before lasted.
SELECT
    System AS system,
    Queue AS queue,
    EventTime AS time,
    toString(Event) AS event,
    Attempt AS attempt,
    round(
        (toUnixTimestamp64Nano(EventTime)
            - toUnixTimestamp64Nano(lagInFrame(EventTime, 1, EventTime) OVER (
                PARTITION BY JobKey ORDER BY EventTime, Event
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
            ))) / 1e6,
        3
    ) AS `after ms`,
    JobClass AS class,
    if(WorkerId != '', WorkerId, Host) AS worker,
    ErrorType AS error,
    substringUTF8(splitByChar('\n', ErrorMessage)[1], 1, 80) AS message,
    TraceId AS trace
FROM {events:Identifier}
WHERE JobId IN (
        -- By id only, so that the view reads the rows of these jobs and no others.
        SELECT JobId FROM {table:Identifier} FINAL WHERE JobId = {job:String} OR ProviderJobId = {job:String}
    )
    AND ({since:UInt32} = 0 OR EventTime >= now64(9) - toIntervalSecond({since:UInt32}))
ORDER BY JobKey, EventTime, Event
