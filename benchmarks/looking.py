"""Many clients of a cache in one process, a thread each: every one looks once at a channel and at the set it names.

Usage: python benchmarks/looking.py URL CHANNEL KEY CLIENTS WITHIN SEED

Says `ready` when all of them are, and waits for a line with the moment to begin (`time.time()`). Looks begin at moments
that are spread over WITHIN seconds. Prints as JSON how many seconds each took, and what failed. Who looks has a
connection to make and a cache to wait for; the start of his process is his own machine's, and not measured.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from envbuilder.bucket import open_bucket
from envbuilder.depot import Depot, Trust
from envbuilder.errors import VpmError
from envbuilder.following import channel_of
from envbuilder.keys import parse_public


@dataclass
class Looks:
    """What looks took, in seconds, and the words of those that failed."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def look(self, depot: Depot, channel: str, moment: float) -> None:
        """Look at a channel and its set, when the moment has come."""
        time.sleep(max(moment - time.time(), 0.0))
        started = time.perf_counter()
        try:
            depot.waybill(channel_of(depot, channel).digest)
        except VpmError as error:
            self.failures.append(str(error))
        self.seconds.append(time.perf_counter() - started)


def main(url: str, channel: str, key: str, clients: str, within: str, seed: str) -> None:
    """Open a cache for each client, wait for the moment, look, and tell."""
    chance, looks = random.Random(int(seed)), Looks()
    trust = Trust(keys=(parse_public(key),))
    depots = [Depot(open_bucket(url, env={}), trust) for _ in range(int(clients))]
    threading.stack_size(256 << 10)
    print("ready", flush=True)
    moment = float(sys.stdin.readline())
    threads = [
        threading.Thread(target=looks.look, args=(depot, channel, moment + chance.uniform(0, float(within))))
        for depot in depots
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"seconds": looks.seconds, "failures": looks.failures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
