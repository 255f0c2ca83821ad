CREATE TABLE IF NOT EXISTS {table} {on_cluster} (
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    Name LowCardinality(String) CODEC(ZSTD(1)),
    Severity LowCardinality(String) CODEC(ZSTD(1)),
    State LowCardinality(String) CODEC(ZSTD(1)),
    Subject String CODEC(ZSTD(1)),
    Text String CODEC(ZSTD(1)),
    Labels Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Runbook String CODEC(ZSTD(1)),
    TraceIds Array(String) CODEC(ZSTD(1))
)
ENGINE = {engine}
PARTITION BY toDate(Timestamp)
ORDER BY (Timestamp, Name, Subject)
{ttl}
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, {deduplication}
