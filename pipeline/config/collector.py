"""Component types of the OpenTelemetry Collector, core and contrib, in old and new spellings (2026-08).

Only for messages: who brings a Collector's file should read "jobsight has no such component yet", not "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_RECEIVERS = """
apache awscloudwatch azureeventhub datadog docker_stats elasticsearch filelog file_log fluentforward hostmetrics
httpcheck influxdb jaeger journald k8s_cluster k8s_events k8sobjects kafka kafkametrics kubeletstats memcached mongodb
mysql namedpipe nginx nop opencensus otlp otlpjsonfile postgresql prometheus prometheusremotewrite pulsar rabbitmq
redis skywalking solace splunk_hec sqlquery sqlserver statsd syslog tcplog udplog webhookevent windowseventlog zipkin
"""
_PROCESSORS = """
attributes batch cumulativetodelta deltatocumulative deltatorate filter geoip groupbyattrs groupbytrace interval
k8sattributes logdedup memory_limiter metricsgeneration metricstransform probabilistic_sampler redaction remotetap
resource resourcedetection resource_detection schema span sumologic tail_sampling transform
"""
_EXPORTERS = """
awscloudwatchlogs awsemf awss3 awsxray azuredataexplorer azuremonitor cassandra clickhouse coralogix datadog debug
doris elasticsearch file googlecloud honeycombmarker influxdb kafka loadbalancing load_balancing logging logzio loki
nop opensearch otlp otlp_grpc otlphttp otlp_http prometheus prometheusremotewrite pulsar rabbitmq sentry signalfx
splunk_hec stef sumologic syslog zipkin
"""
_EXTENSIONS = """
ack asapauth basicauth basic_auth bearertokenauth bearer_token_auth cgroupruntime db_storage docker_observer
file_storage headers_setter health_check healthcheckv2 host_observer jaegerremotesampling k8s_observer
memory_limiter oauth2client oidc opamp otlp_encoding pprof redis_storage remotetap sigv4auth sumologic zpages
"""
_CONNECTORS = """
count datadog exceptions failover forward grafanacloud otlpjson roundrobin routing servicegraph service_graph
signaltometrics spanmetrics span_metrics sum
"""

COLLECTOR_TYPES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "receivers": frozenset(_RECEIVERS.split()),
        "processors": frozenset(_PROCESSORS.split()),
        "exporters": frozenset(_EXPORTERS.split()),
        "extensions": frozenset(_EXTENSIONS.split()),
        "connectors": frozenset(_CONNECTORS.split()),
    }
)
