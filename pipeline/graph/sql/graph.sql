SELECT
    ParentKind AS parent_kind,
    Parent AS parent,
    ChildKind AS child_kind,
    Child AS child,
    sum(Calls) AS calls,
    sum(Failures) AS failures,
    sum(Executions) AS executions,
    if(sum(Parents) > 0, sum(Calls) / sum(Parents), 0) AS fan_out,
    max(FanOutMax) AS fan_out_max,
    sumIf(Calls, Via = 'link') AS linked,
    quantilesTDigestWeightedMerge(0.5, 0.95, 0.99)(Duration) AS duration,
    quantilesTDigestWeightedMerge(0.5, 0.95, 0.99)(QueueLatency) AS queue_latency,
    toString(min(FirstSeen)) AS first_seen,
    toString(max(LastSeen)) AS last_seen,
    arraySort(groupUniqArrayIf(ParentService, ParentService != '')) AS parent_services,
    arraySort(groupUniqArrayIf(ChildService, ChildService != '')) AS child_services
FROM {table:Identifier}
WHERE ({since:UInt32} = 0 OR Timestamp >= now() - toIntervalSecond({since:UInt32}))
    AND ({service:String} = '' OR ParentService = {service:String} OR ChildService = {service:String})
GROUP BY parent_kind, parent, child_kind, child
HAVING calls > 0
