"""Many clients of a cache in one process: every one looks once at a channel and at the set it names.

Usage: python benchmarks/looking.py URL CHANNEL KEY CLIENTS WITHIN SEED

Says `ready` when all of them are, and waits for a line with the moment to begin (`time.time()`). Looks begin at moments
that are spread over WITHIN seconds. Prints as JSON how many seconds each took from its own moment on, and what failed.
Who looks has a connection to make and a cache to wait for; the start of his process is his own machine's, and not
measured. A few threads make all looks, and what one waits for a thread counts: a thread for each would measure threads.
"""

from __future__ import annotations

import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from envbuilder.bucket import open_bucket
from envbuilder.depot import Depot, Trust
from envbuilder.errors import VpmError
from envbuilder.following import channel_of
from envbuilder.keys import parse_public

THREADS = 16


@dataclass
class Looks:
    """What looks took, in seconds, and the words of those that failed."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def look(self, depot: Depot, channel: str, moment: float) -> None:
        """Look at a channel and its set, when the moment has come."""
        time.sleep(max(moment - time.time(), 0.0))
        try:
            depot.waybill(channel_of(depot, channel).digest)
        except VpmError as error:
            self.failures.append(str(error))
        self.seconds.append(time.time() - moment)


def main(url: str, channel: str, key: str, clients: str, within: str, seed: str) -> None:
    """Open a cache for each client, wait for the moment, look, and tell."""
    chance, looks = random.Random(int(seed)), Looks()
    trust = Trust(keys=(parse_public(key),))
    depots = [Depot(open_bucket(url, env={}), trust) for _ in range(int(clients))]
    print("ready", flush=True)
    begin = float(sys.stdin.readline())
    moments = sorted(begin + chance.uniform(0, float(within)) for _ in depots)
    with ThreadPoolExecutor(THREADS) as pool:
        for depot, moment in zip(depots, moments, strict=True):
            pool.submit(looks.look, depot, channel, moment)
    print(json.dumps({"seconds": looks.seconds, "failures": looks.failures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
