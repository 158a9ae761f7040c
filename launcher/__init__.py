"""sgl-launch: one YAML file becomes a serving SGLang deployment, on Slurm or on this machine."""

__version__ = "0.1.0"
