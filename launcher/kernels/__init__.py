"""The stage `kernels`: what a deployment's compilers keep, planned, brought to its nodes and kept for the next job."""
