"""Which paths of an engine's frontend a client may use. Everything else needs the job's admin key.

A pattern is a path as Caddy matches it: `*` stands for the rest of a segment or path. Paths are decoded and cleaned
before they are compared, so neither `..` nor `%2f` leads around a pattern. tests/front/test_routes.py asks the real
servers for all of their routes, and fails when one is in neither list.
"""

from __future__ import annotations

# Dynamo's frontend, from its own /openapi.json (1.4.2). /health names the workers; `sgl-launch warmup` needs it.
DYNAMO = (
    "/health",
    "/live",
    "/v1/audio/speech",
    "/v1/chat/completions",
    "/v1/classify",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/images/edits",
    "/v1/images/generations",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/models",
    "/v1/models/*",
    "/v1/pooling",
    "/v1/realtime",
    "/v1/responses",
    "/v1/videos",
    "/v1/videos/stream",
)
# The thresholds by which it refuses everybody's requests; counters of all users; the description of its API.
DYNAMO_REFUSED = ("/busy_threshold", "/metrics", "/openapi.json", "/docs")

# SGLang's router (sglang-router 0.3.2)
ROUTER = (
    "/generate",
    "/get_model_info",
    "/health",
    "/liveness",
    "/readiness",
    "/rerank",
    "/v1/chat/completions",
    "/v1/classify",
    "/v1/completions",
    "/v1/conversations",
    "/v1/conversations/*",
    "/v1/detokenize",
    "/v1/embeddings",
    "/v1/models",
    "/v1/rerank",
    "/v1/responses",
    "/v1/responses/*",
    "/v1/tokenize",
)
# Workers added and removed, code loaded, caches emptied, tokenizers read from any path, flags and load shown.
ROUTER_REFUSED = (
    "/engine_metrics",
    "/flush_cache",
    "/get_loads",
    "/get_server_info",
    "/ha/*",
    "/health_generate",
    "/parse/*",
    "/v1/tokenizers",
    "/v1/tokenizers/*",
    "/wasm",
    "/wasm/*",
    "/workers",
    "/workers/*",
)

# An engine that names none of its own
OPENAI = ("/health", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models", "/v1/models/*")
