"""All three services, as examples/sglang/graphs/disagg.py of 2025."""

from services import Frontend, SGLangDecodeWorker, SGLangWorker

Frontend.link(SGLangWorker).link(SGLangDecodeWorker)
