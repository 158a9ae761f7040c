"""Sources of our own, small but with every kind of key; and the shared samples, where they are."""

from __future__ import annotations

from pathlib import Path

SERVICE = """\
# A service file of two roles.
Frontend:
  served_model_name: acme/Big-1
  endpoint: dynamo.SGLangWorker.generate
  port: 8100

SGLangWorker:
  model-path: /model/
  served-model-name: acme/Big-1
  disaggregation-mode: prefill
  disaggregation-transfer-backend: nixl
  disaggregation-bootstrap-port: 30001
  dist-init-addr: HEAD_PREFILL_NODE_IP:29500
  nnodes: 2
  node-rank: 0
  tp: 16
  dp-size: 16
  enable-dp-attention: true
  # experts
  enable-deepep-moe: true
  deepep-mode: normal
  # for long runs
  #max-running-requests: 8192
  #cuda-graph-bs: 64
  chunked-prefill-size: 524288  # tokens
  prefill-round-robin-balance: true
  ServiceArgs:
    workers: 1
    resources:
      gpu: 8
    envs:
      MC_TE_METRIC: true

SGLangDecodeWorker:
  model-path: /model/
  served-model-name: acme/Big-1
  disaggregation-mode: decode
  disaggregation-transfer-backend: nixl
  disaggregation-bootstrap-port: 30001
  dist-init-addr: HEAD_DECODE_NODE_IP:29500
  nnodes: 4
  node-rank: 0
  tp-size: 32
  dp-size: 32
  enable-dp-attention: true
  enable-deepep-moe: true
  deepep-mode: low_latency
  cuda-graph-bs: 256
  ServiceArgs:
    workers: 1
    resources:
      gpu: 8
    envs:
      - name: MC_TE_METRIC
        value: "1"
"""

SERVICE_AGG = """\
Common:
  page-size: 16
  kv-block: 4
Frontend:
  served_model_name: acme/small
  port: "8000"
Processor:
  model-path: acme/small
SGLangWorker:
  model-path: acme/small
  tp: 2
  common-configs: [page-size]
  ServiceArgs:
    workers: 2
    resources: {gpu: "2", cpu: "10"}
Planner:
  environment: local
"""

RECIPE = """\
# A recipe for two roles.
#
# srtctl apply -f recipe.yaml

# the job
name: "acme-big 1p3d"

slurm:
  time_limit: "04:00:00"
  partition: h100
sbatch_directives:
  exclusive: ""
  gres: "gpu:8"
  nodelist: [a, b]
  output: x.log

model:
  path: "acme-fp8"  # from srtslurm.yaml
  container: "acme/sglang:v0.5.8"
  precision: "fp8"

# three decode workers
resources:
  gpu_type: "h100"
  gpus_per_node: 8
  prefill_nodes: 2
  prefill_workers: 1
  decode_nodes: 3
  decode_workers: 3  # one a node

environment:
  NCCL_DEBUG: INFO
  WHERE: "{node}"

frontend:
  type: dynamo
  enable_multiple_frontends: true
  args:
    router-mode: kv
    router-temperature: 0.5
    no-kv-events: true
  env:
    DYN_LOG: debug

backend:
  kv_events_config: {prefill: true}
  prefill_environment:
    # a long time
    TORCH_DISTRIBUTED_DEFAULT_TIMEOUT: "1800"
  decode_environment:
    CACHE: /configs/cache
    EMPTY:
  sglang_config:
    prefill:
      served-model-name: acme/Big-1
      disaggregation-mode: prefill
      # Parallelism
      tensor-parallel-size: 16
      data-parallel-size: 16
      enable-dp-attention: true

      # network
      host: 0.0.0.0
      disaggregation-bootstrap-port: 30001
      # moe-runner-backend: "flashinfer_trtllm"
      nsa-prefill-backend: trtllm
      disaggregation-transfer-backend: nixl
    decode:
      served-model-name: acme/Big-1
      tp_size: 8
      disable-cuda-graph: true
      model-loader-extra-config: '{"threads": 4}'
      cuda-graph-bs: [1, 2, 4]
      no-such-flag-here: 7
      load-balance-method: null
      # context-length 4500

health_check:
  max_attempts: 360
  interval_seconds: 10

container_mounts:
  /data: /mnt/data
  $HOME/x: /x
extra_mount:
  - /cache:/cache:ro

benchmark:
  type: sa-bench
  isl: 1024
  # twice
  concurrencies: [256, 512]
dynamo: {version: "0.8.0"}
something_new: {a: [1, 2]}
"""

RECIPE2 = """\
# The second schema: a role's keys stand together.
schema: 2
name: "acme-2"
slurm: {time_limit: "02:00:00"}
model:
  path: acme-fp8
  container: "acme/sglang:v0.5.18"
  precision: fp8
resources: {gpu_type: h100, gpus_per_node: 8}
dynamo:
  source: {git: "https://example.org/dynamo", rev: v1.5.1}
  request_plane: nats
  event_plane: nats
frontend:
  type: dynamo
  num_additional_frontends: 3
  placement: {node: head}
  args: {router-mode: kv}
# the engine
engine: sglang
roles:
  # two of them
  prefill:
    nodes: 2
    workers: 2
    gpus: 4
    critical: false
    env: {NCCL_DEBUG: INFO}
    args:
      served-model-name: acme/Big-2
      tensor-parallel-size: 4
      # graphs
      cuda-graph-max-bs: 64
  decode:
    nodes: colocate
    workers: 2
    gpus: 2
    kv_events: true
    args: {served-model-name: acme/Big-2, tp-size: 2}
services:
  - {name: etcd, type: etcd, placement: {node: dedicated}}
  - {name: logs, command: [python3, -m, http.server]}
benchmark: {type: sa-bench, isl: 128}
"""

RECIPE_AGG = """\
name: acme-agg
model: {path: "hf:acme/tiny", container: /images/sglang.sqsh, precision: bf16}
resources: {gpu_type: h100, gpus_per_node: 8, agg_nodes: 1, agg_workers: 4, gpus_per_agg: 2,
            gpus_per_decode: 4}
frontend: {type: sglang, args: {policy: cache_aware}}
backend:
  type: sglang
  aggregated_environment: {}
  sglang_config:
    aggregated: {tensor-parallel-size: 2, disaggregation-bootstrap-port: 9000}
    prefill: {tensor-parallel-size: 4}
benchmark: {type: manual}
sweep: {page: [16, 32]}
"""

VARIANTS = """\
# Several recipes.
base:
  name: acme
  model: {path: /models/acme, container: acme, precision: fp8}
  resources: {gpu_type: gb200, gpus_per_node: 4, prefill_nodes: 1, prefill_workers: 1,
              decode_nodes: 1, decode_workers: 1}
  backend:
    prefill_environment: {A: "1"}
    sglang_config:
      prefill: {tensor-parallel-size: 4, disaggregation-transfer-backend: nixl}
      decode:
        disaggregation-transfer-backend: nixl
        # to be changed
        tensor-parallel-size: 4
        load-balance-method: round_robin
  benchmark: {type: sa-bench}

# more experts
zip_override_wide:
  name: [acme-8, acme-16]
  resources: {decode_nodes: [2, 4]}
  backend:
    sglang_config:
      decode:
        # wide
        tensor-parallel-size: [8, 16]
        data-parallel-size: [8, 16]
        enable-dp-attention: true
        cuda-graph-bs: [[1, 2], [4]]
        mem-fraction-static: [0.8]
        load-balance-method: null
  benchmark: {concurrencies: ["4", "8"]}

override_two:
  resources: {prefill_nodes: 2, prefill_workers: 2}
"""

MOCKER = """\
name: smoke
model: {path: "hf:acme/tiny", container: dynamo, precision: fp16}
resources: {gpu_type: gb200, gpus_per_node: 4, prefill_nodes: 1, prefill_workers: 1,
            decode_nodes: 1, decode_workers: 1, gpus_per_prefill: 1, gpus_per_decode: 1}
frontend: {type: dynamo}
backend:
  type: mocker
  speedup_ratio: 10
  engine_type: vllm
  max_num_seqs: 64
  enable_prefix_caching: false
  mocker_config:
    prefill: {max-num-seqs: 128, block-size: 16, startup-time: 1}
    decode: {block-size: 16, startup-time: 2}
"""

# name -> text
OWN = {
    "service.yaml": SERVICE,
    "service_agg.yaml": SERVICE_AGG,
    "recipe.yaml": RECIPE,
    "recipe2.yaml": RECIPE2,
    "recipe_agg.yaml": RECIPE_AGG,
    "variants.yaml": VARIANTS,
    "mocker.yaml": MOCKER,
}

# in the checkout, or beside it
SHARED = sorted(
    path
    for folder in Path(__file__).resolve().parents[2:4]
    for path in (folder / "shared" / "examples").glob("*/*.yaml")
)


def all_texts() -> dict[str, str]:
    """Our own sources, and the shared ones if this checkout has them."""
    return {**OWN, **{p.name: p.read_text(encoding="utf-8") for p in SHARED}}
