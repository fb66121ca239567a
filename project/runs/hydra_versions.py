"""What differs between Hydra 1.3 and 1.4."""

from collections.abc import Callable
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


def spare_a_composition(name: str) -> None:
    """Hydra 1.3 composes the whole config once more to ask it for `hydra.mode`, a fifth of a second.

    1.4 asks the command line and the primary config, and so does this; no primary config here names it.

    Args:
        name: the primary config.
    """
    if VERSION >= (1, 4):
        return
    from hydra._internal.hydra import Hydra

    compose: Callable[..., Any] = getattr(Hydra.get_mode, "composes", Hydra.get_mode)

    def get_mode(self: Any, config_name: str | None, overrides: list[str]) -> Any:
        named = any(word.lstrip("+").partition("=")[0] in ("hydra", "hydra.mode") for word in overrides)
        return compose(self, config_name, overrides) if named or config_name != name else None

    get_mode.composes = compose  # type: ignore[attr-defined]
    Hydra.get_mode = get_mode  # type: ignore[method-assign]
