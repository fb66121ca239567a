"""What a monitored value's name says."""


def monitor_mode(monitor: str, mode: str | None) -> str:
    """`mode`, or what the monitor's name says: losses and errors are minimised, all else is maximised."""
    return mode or ("min" if monitor.endswith(("loss", "error")) else "max")
