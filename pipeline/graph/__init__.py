"""`jobsight graph`: who enqueues whom, as a picture. `model`: the graph; `mermaid`, `dot` write it; `command` asks."""
