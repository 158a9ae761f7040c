"""The configuration: one YAML file, layered over a site file, checked and typed."""

from launcher.config.load import Source, load_config
from launcher.config.schema import Config

__all__ = ["Config", "Source", "load_config"]
