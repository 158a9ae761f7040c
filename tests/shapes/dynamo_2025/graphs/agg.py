"""Frontend and prefill worker, as examples/sglang/graphs/agg.py of 2025."""

from services import Frontend, SGLangWorker

Frontend.link(SGLangWorker)
