"""Memory and time of a task: the bytes of live tensors at their peak, and seconds of the processor."""

import statistics
import time
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Live(TorchDispatchMode):
    """The bytes of the tensors that are made within it and live: `now`, and `peak`."""

    def __init__(self):
        super().__init__()
        self.now, self.peak, self.known = 0, 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage):
        key = storage._cdata
        if key in self.known:
            return
        size = storage.nbytes()

        def gone(_):
            self.now -= size
            self.known.pop(key, None)

        self.known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def peak(task):
    """The most bytes that live at a time in a task."""
    with Live() as live:
        task()
    return live.peak


def interleaved(tasks, rounds):
    """Median seconds of processor time of each task."""
    times = {name: [] for name in tasks}
    for n in range(rounds + 1):
        for name, task in tasks.items():
            begin = time.process_time()
            task()
            if n:
                times[name].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in times.items()}
