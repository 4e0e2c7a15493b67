"""The BosBase package as a peer: `python storm.py URL TOPICS`.

Says how long it took until all were acknowledged, then stays, for its recovery to be watched.
"""

import json
import sys
import threading
import time

from bosbase import BosBase

url, count = sys.argv[1], int(sys.argv[2])
client = BosBase(url)

began = time.perf_counter()
try:
    for number in range(count):
        client.realtime.subscribe(f"posts/r{number:014}", lambda event: None)
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
except Exception as error:
    print(json.dumps({"error": str(error)}), flush=True)
threading.Event().wait()
