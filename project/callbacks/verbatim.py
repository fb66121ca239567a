"""Texts that come from data, shown as they are: no sign of them is obeyed by a terminal, a page or Markdown."""

import re

# control characters but tab and newline, line separators, what turns the direction of writing, and lone surrogates
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""A text in which control characters, which a terminal or a page would obey, are written out as `\x1b`."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def verbatim(text: str) -> str:
    """Markdown that shows `text` as it is: a block of code, which no line of it can end."""
    return "\n".join(f"    {line}" for line in visible(text).split("\n"))
