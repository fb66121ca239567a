"""A real TensorBoard, on loopback and a free port."""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def tensorboard_at(folder: Path) -> Iterator[str]:
    """Its address, once it has read the event files of `folder`."""
    program = shutil.which("tensorboard", path=str(Path(sys.executable).parent))
    assert program is not None
    words = [program, "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            address = next(match[1] for line in server.stderr if (match := re.search(r"(http://127[^/ ]+)", line)))
            runs = {path.parent for path in folder.rglob("events.out.tfevents.*")}
            for _ in range(100):
                read = json.loads(urllib.request.urlopen(f"{address}/data/runs", timeout=30).read())
                if len(read) >= len(runs):
                    break
                time.sleep(0.2)
            time.sleep(1)  # the last run's name is there before its values are
            yield address
        finally:
            server.kill()  # it loses a SIGTERM that comes while it answers a request
