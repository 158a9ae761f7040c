"""The warm-up: DeepGEMM kernels before the workers start, requests after."""
