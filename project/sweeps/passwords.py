"""The passwords in a database's URL, which no message, file or log is to hold."""

import re
from urllib.parse import unquote

_OF_USER = re.compile(r"(://[^:/?#\s]*:)(.+)(@)")
_IN_QUERY = re.compile(r"([?&;][^=&;\s]*(?:pass|pwd|secret|token)[^=&;\s]*=)([^&;#\s]+)", re.IGNORECASE)


def masked(url: str) -> str:
    """`url` with stars for its passwords."""
    return _IN_QUERY.sub(r"\1***", _OF_USER.sub(r"\1***\3", url))


def scrubbed(text: str, url: str | None) -> str:
    """`text` without the passwords of `url`, as they stand in it and as they read decoded."""
    if url is None:
        return text
    text = text.replace(url, masked(url))
    secrets = [value for _, value in _IN_QUERY.findall(url)]
    if found := _OF_USER.search(url):
        first, *rest = found[2].split("@")  # a driver may take the first @ for the password's end
        secrets += [found[2], first, *(f"{part}@" for part in rest)]
    for secret in sorted({*secrets, *map(unquote, secrets)}, key=len, reverse=True):
        if secret.strip("@"):
            text = text.replace(secret, "***@" if secret.endswith("@") else "***")
    return text
