"""`check`: every mistake of a config at once, before it queues."""

from launcher.check.check import Checked, check_config
from launcher.check.findings import Finding

__all__ = ["Checked", "Finding", "check_config"]
