"""`jobsight demo`: a shop's job workers, played with the real OpenTelemetry SDK.

`shop` makes up what happens (pure, seeded), `dialects` words it as the instrumentations of three job systems do,
`telemetry` says it through the SDK, `delivery` counts what the collector took, `truth` keeps what was really sent.
"""
