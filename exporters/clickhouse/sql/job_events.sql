CREATE VIEW IF NOT EXISTS {table} {on_cluster}
AS SELECT
    System,
    JobId,
    JobKey,
    event.1 AS Event,
    event.2 AS EventTime,
    detail.1 AS ProviderJobId,
    detail.2 AS JobClass,
    detail.3 AS Queue,
    detail.4 AS ServiceName,
    detail.5 AS Host,
    detail.6 AS WorkerId,
    detail.7 AS Attempt,
    detail.8 AS Outcome,
    detail.9 AS ScheduledFor,
    detail.10 AS ErrorType,
    detail.11 AS ErrorMessage,
    detail.12 AS TraceId,
    detail.13 AS SpanId
FROM (
    SELECT
        System,
        JobId,
        concat(System, ':', if(System = 'bullmq', concat(Queue, ':'), ''), JobId) AS JobKey,
        event,
        argMin(
            tuple(
                ProviderJobId, JobClass, Queue, ServiceName, Host, WorkerId,
                if(Operation = 'process', coalesce(Attempt, nullIf(AttemptInferred, 0)), NULL),
                Outcome, ScheduledFor,
                if(event.1 IN ('started', 'enqueued'), '', ErrorType),
                if(event.1 IN ('started', 'enqueued'), '', ErrorMessage),
                TraceId, SpanId
            ),
            (Operation, SpanId)
        ) AS detail
    FROM {source} FINAL
    ARRAY JOIN CAST(
        multiIf(
            Operation = 'process',
            arrayConcat(
                if(EnqueuedAt IS NOT NULL AND (EnqueueSpanId = '' OR EnqueuedAtSource = 'enqueue_span'),
                    [('enqueued', assumeNotNull(EnqueuedAt))], []),
                [
                    ('started', Timestamp),
                    (
                        multiIf(Outcome IN ('failed', 'retried', 'discarded'), toString(Outcome), 'completed'),
                        addNanoseconds(Timestamp, Duration)
                    )
                ]
            ),
            Outcome = 'failed',
            [],
            [('enqueued', Timestamp)]
        )
        AS Array(Tuple(
            Enum8(
                'enqueued' = 1, 'started' = 2, 'completed' = 3, 'failed' = 4, 'retried' = 5, 'discarded' = 6
            ),
            DateTime64(9)
        ))
    ) AS event
    WHERE JobId != ''
    GROUP BY System, JobId, JobKey, event, if(event.1 = 'enqueued', '', SpanId)
)
