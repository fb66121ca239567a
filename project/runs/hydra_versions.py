"""What differs between Hydra 1.3 and 1.4."""

from typing import Any

import hydra
from hydra.utils import instantiate as _instantiate

VERSION = tuple(int(part) for part in hydra.__version__.split(".")[:2])
# Hydra 1.4 knows no other defaults than those, and says so of whoever names them
DEFAULTS: dict[str, Any] = {"version_base": "1.3"} if VERSION < (1, 4) else {}
_CHECKS: dict[str, Any] = {}
if VERSION >= (1, 4):
    from hydra.utils import UNSAFE_DISABLE_EXECUTION_CHECKS  # type: ignore[attr-defined]

    _CHECKS["_execution_whitelist_"] = UNSAFE_DISABLE_EXECUTION_CHECKS


def instantiate(node: Any, **arguments: Any) -> Any:
    """Hydra's `instantiate`, of any class: a config is its user's program, and names the user's own classes too."""
    return _instantiate(node, **_CHECKS, **arguments)
