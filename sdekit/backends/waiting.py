"""Work that must not be cut off in the middle."""

import sys
import threading
from concurrent.futures import Future, wait

PATIENCE = 1.0  # seconds after which a person wants to know


def apart(work, notice=None):
    """work(), on a thread of its own for which the caller waits; `notice` goes to stderr if it takes longer than 1 s.

    Ctrl-C ends the waiting, and the work goes on to its end: an import or a compilation that stops in the middle
    leaves numba's tables half filled, and every later one fails.
    """
    future: Future = Future()

    def run():
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run).start()
    if not wait([future], PATIENCE).done and notice:
        print(notice, file=sys.stderr, flush=True)
    return future.result()
