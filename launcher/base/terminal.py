"""Text from elsewhere on a terminal: nothing in it may move the cursor, set a title or reach the clipboard."""

from __future__ import annotations

import re

# what programs colour their lines with; left out, since the launcher's own colours say whose line it is
_COLOUR = re.compile("\x1b\\[[0-9;:]*m")
# control characters of ASCII and of ISO 6429 (C1), line separators, marks that reorder a line, and half a pair
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text without colours, everything else but newlines and tabs that a terminal would act on written as
    \\x1b, \\u202e and so on."""
    return _ACTIVE.sub(lambda m: m[0].encode("unicode_escape", "surrogatepass").decode(), _COLOUR.sub("", text))
