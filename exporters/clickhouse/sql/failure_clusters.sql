CREATE TABLE IF NOT EXISTS {table} {on_cluster} (
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    ClusterId String CODEC(ZSTD(1)),
    State LowCardinality(String) CODEC(ZSTD(1)),
    Rule LowCardinality(String) CODEC(ZSTD(1)),
    OpenedAt DateTime64(9) CODEC(Delta, ZSTD(1)),
    LastSeenAt DateTime64(9) CODEC(Delta, ZSTD(1)),
    Failures UInt64 CODEC(ZSTD(1)),
    JobClasses Array(LowCardinality(String)) CODEC(ZSTD(1)),
    Queues Array(LowCardinality(String)) CODEC(ZSTD(1)),
    ErrorType LowCardinality(String) CODEC(ZSTD(1)),
    ErrorCategory LowCardinality(String) CODEC(ZSTD(1)),
    ErrorFingerprint LowCardinality(String) CODEC(ZSTD(1)),
    Causes Array(Tuple(Key String, Value String, ShareInFailures Float64, ShareInSuccesses Nullable(Float64)))
        CODEC(ZSTD(1)),
    SampleMessages Array(String) CODEC(ZSTD(1)),
    SampleTraceIds Array(String) CODEC(ZSTD(1))
)
ENGINE = {engine}
PARTITION BY toDate(Timestamp)
ORDER BY (Timestamp, ClusterId)
{ttl}
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, {deduplication}
