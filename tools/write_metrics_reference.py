"""Write docs/reference/metrics.md from the metrics; a test holds the page to them."""

# ruff: noqa: E501 (a paragraph and a row of a table are one line)

from collections.abc import Sequence
from pathlib import Path

from ultramarine.services.measures import COUNTERS, ENDPOINTS, GAUGES, HISTOGRAMS, REPLICAS, SECONDS, Measure

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "metrics.md"
HEAD = """# Metrics

<!-- Made by tools/write_metrics_reference.py from src/ultramarine/services/measures.py. -->

`GET /metrics` at the gateway's address answers in Prometheus' text format. It needs a token like everything else, and as it tells of all workspaces, one that is good for all of them; the role `reader` is enough:

```sh
um token create --every-workspace --subject prometheus --role reader
```

```yaml
scrape_configs:
  - job_name: ultramarine
    authorization: {credentials_file: /etc/prometheus/ultramarine.token}
    static_configs: [{targets: ["127.0.0.1:7770"]}]
```

Counters and histograms count from the start of the control plane; gauges are read off its state at each request. `noun` is `job` or `deployment`, the owner of a run; a run is one attempt at a job, or one replica.
What a single job uses is in its run in MLflow ([system metrics](tracking.md#system-metrics)), not here.
"""
ENDPOINT_WORDS = "Counted by the gateway, over all its workers, as [its status](route-table.md#listeners-and-admin-socket) has it; read once a second while there are deployments."

REPLICA_WORDS = "Of replicas the first three, which they are asked for every five seconds, over all their worker processes; the counters begin anew with a process. The last two as the replica's node reports them."


def page() -> str:
    buckets = f"Buckets up to {', '.join(f'{bound:g}' for bound in SECONDS)} s."
    sections = (
        ("Counters", COUNTERS, ""),
        ("Histograms", HISTOGRAMS, buckets),
        ("Gauges", GAUGES, ""),
        ("Endpoints", ENDPOINTS, ENDPOINT_WORDS),
        ("Replicas", REPLICAS, REPLICA_WORDS),
    )
    return "\n".join([HEAD, *(_section(*section) for section in sections)]).rstrip() + "\n"


def _section(title: str, measures: Sequence[Measure], words: str) -> str:
    rows = [f"| `{m.name}` | {', '.join(f'`{label}`' for label in m.labels)} | {m.words} |" for m in measures]
    return "\n".join(
        [f"## {title}", "", *([words, ""] if words else []), "| metric | labels | |", "|---|---|---|", *rows, ""]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
