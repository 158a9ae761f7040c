#!/usr/bin/env python3
"""Make launcher/measure/dashboard.json, the Grafana dashboard that `sgl-launch metrics --dashboard` prints.

    pip install grafana-foundation-sdk; tools/make_dashboard.py [--check]

It is built with Grafana's own types, so that Grafana takes it. `--check`: write nothing; exit status 1 if it would
change, or if the types, read back from the file, lose something of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

FILE = Path(__file__).resolve().parents[1] / "launcher" / "measure" / "dashboard.json"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
JOB = 'sgl_name="$name"'
RATE = "$__rate_interval"



def quantiles(what: str) -> list[tuple[str, str]]:
    """Of one of the frontend's histograms of seconds."""
    buckets = f"sum by (le) (rate(dynamo_frontend_{what}_seconds_bucket{{{JOB}}}[{RATE}]))"
    return [(f"histogram_quantile({q}, {buckets})", f"p{q * 100:g}") for q in (0.5, 0.9, 0.99)]


# (title, unit, (expression, legend) ...): stats first, then a row a topic
STATS = (
    ("Serving", "bool_yes_no", (f"sgl_launch_serving{{{JOB}}}", "serving")),
    ("Warm", "bool_yes_no", (f"sgl_launch_warm{{{JOB}}}", "warm")),
    ("Walltime left", "s", (f"sgl_launch_walltime_end_timestamp_seconds{{{JOB}}} - time()", "left")),
    ("Restarts", "short", (f"sum(sgl_launch_group_restarts_total{{{JOB}}})", "restarts")),
    ("Targets down", "short", (f"count(up{{{JOB}}} == 0) or vector(0)", "down")),
)
ROWS = (
    ("Requests", (
        ("Requests running", "short",
         (f"sum by (sgl_group) (sglang:num_running_reqs{{{JOB}}})", "{{sgl_group}}"),
         (f'sum by (sgl_group) (dynamo_component_inflight_requests{{{JOB}, dynamo_endpoint="generate"}})',
          "{{sgl_group}} (Dynamo)")),
        ("Requests waiting", "short", (f"sum by (sgl_group) (sglang:num_queue_reqs{{{JOB}}})", "{{sgl_group}}"),
         (f"sum(dynamo_frontend_queued_requests{{{JOB}}})", "frontend")),
        ("Requests a second", "reqps",
         (f"sum by (status) (rate(dynamo_frontend_requests_total{{{JOB}}}[{RATE}]))", "{{status}}")),
    )),
    ("Speed", (
        ("Output tokens a second", "short",
         (f"sum(rate(dynamo_frontend_output_tokens_total{{{JOB}}}[{RATE}]))", "all"),
         (f"sum by (sgl_group) (rate(sglang:generation_tokens_total{{{JOB}}}[{RATE}]))", "{{sgl_group}}")),
        ("TTFT", "s", *quantiles("time_to_first_token")),
        ("ITL", "s", *quantiles("inter_token_latency")),
    )),
    ("Groups", (
        ("KV cache in use", "percentunit", (f"max by (sgl_group) (sglang:token_usage{{{JOB}}})", "{{sgl_group}}")),
        ("GPU use", "percentunit", (f"avg by (group) (sgl_launch_gpu_utilization_ratio{{{JOB}}})", "{{group}}")),
        ("GPU memory in use", "percentunit",
         (f"sum by (group) (sgl_launch_gpu_memory_used_bytes{{{JOB}}})"
          f" / sum by (group) (sgl_launch_gpu_memory_total_bytes{{{JOB}}})", "{{group}}")),
        ("State", "short", (f"sum by (state) (sgl_launch_group_state{{{JOB}}})", "{{state}}")),
        ("Stages of the start", "s", (f"sgl_launch_stage_seconds{{{JOB}}}", "{{stage}}")),
    )),
)  # fmt: skip


def query(number: int, expression: str, legend: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE)
    return made.ref_id(chr(ord("A") + number))


def build() -> dashboard.Dashboard:
    made = dashboard.Dashboard("sgl-launch").uid("sgl-launch").tags(["sgl-launch"]).refresh("10s")
    made = made.time("now-30m", "now")
    made = made.with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
    name = dashboard.QueryVariable("name").label("Deployment").query("label_values(up, sgl_name)").datasource(SOURCE)
    made = made.with_variable(name.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED))
    for title, unit, one in STATS:
        panel = stat.Panel().title(title).unit(unit).datasource(SOURCE).span(24 // len(STATS)).height(4)
        made = made.with_panel(panel.with_target(query(0, *one)))
    for row, panels in ROWS:
        made = made.with_row(dashboard.Row(row))
        for title, unit, *several in panels:
            drawn = timeseries.Panel().title(title).unit(unit).datasource(SOURCE).span(8).height(8)
            for number, one in enumerate(several):
                drawn = drawn.with_target(query(number, *one))
            made = made.with_panel(drawn)
    return made


def text(of: models.Dashboard) -> str:
    return JSONEncoder(sort_keys=True, indent=1).encode(of) + "\n"


def main() -> int:
    made = text(build().build())
    if "--check" not in sys.argv:
        FILE.write_text(made, encoding="utf-8")
        return 0
    import json

    now = FILE.read_text(encoding="utf-8")
    read = models.Dashboard.from_json(json.loads(now))
    if now != made:
        print(f"{FILE} is not what this script makes", file=sys.stderr)
    if json.loads(text(read)) != json.loads(now):
        print(f"{FILE}: Grafana's types lose something of it", file=sys.stderr)
        return 1
    return 0 if now == made else 1


if __name__ == "__main__":
    sys.exit(main())
