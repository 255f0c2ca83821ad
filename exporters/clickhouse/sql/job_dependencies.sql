CREATE TABLE IF NOT EXISTS {table} {on_cluster} (
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    ParentKind LowCardinality(String) CODEC(ZSTD(1)),
    Parent LowCardinality(String) CODEC(ZSTD(1)),
    ParentService LowCardinality(String) CODEC(ZSTD(1)),
    ChildKind LowCardinality(String) CODEC(ZSTD(1)),
    Child LowCardinality(String) CODEC(ZSTD(1)),
    ChildService LowCardinality(String) CODEC(ZSTD(1)),
    Via LowCardinality(String) CODEC(ZSTD(1)),
    Calls SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    Failures SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    Executions SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    Parents SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    FanOutMax SimpleAggregateFunction(max, UInt64) CODEC(ZSTD(1)),
    QueueLatencySamples Array(UInt64) EPHEMERAL,
    QueueLatencyWeights Array(UInt64) EPHEMERAL,
    QueueLatency AggregateFunction(quantilesTDigestWeighted(0.5, 0.95, 0.99), UInt64, UInt64)
        DEFAULT arrayReduce(
            'quantilesTDigestWeightedState(0.5, 0.95, 0.99)', QueueLatencySamples, QueueLatencyWeights
        ),
    DurationSamples Array(UInt64) EPHEMERAL,
    DurationWeights Array(UInt64) EPHEMERAL,
    Duration AggregateFunction(quantilesTDigestWeighted(0.5, 0.95, 0.99), UInt64, UInt64)
        DEFAULT arrayReduce('quantilesTDigestWeightedState(0.5, 0.95, 0.99)', DurationSamples, DurationWeights),
    FirstSeen SimpleAggregateFunction(min, DateTime64(9)) CODEC(ZSTD(1)),
    LastSeen SimpleAggregateFunction(max, DateTime64(9)) CODEC(ZSTD(1))
)
ENGINE = {engine}
PARTITION BY toDate(Timestamp)
ORDER BY (Timestamp, ParentKind, Parent, ChildKind, Child, ParentService, ChildService, Via)
{ttl}
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, {deduplication}
