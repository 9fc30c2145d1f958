"""A second thread for the second network, and how to tell that networks draw numbers."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch


@cache
def second_thread() -> ThreadPoolExecutor:
    """This process's thread for the second network."""
    return ThreadPoolExecutor(1, thread_name_prefix="second network")


# A forked process has the executor, but not its thread.
os.register_at_fork(after_in_child=second_thread.cache_clear)


def generators() -> tuple[object, ...]:
    """The states of the generators that a network on a CPU may draw from."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    torch_state = torch.get_rng_state().numpy().tobytes()
    return torch_state, random.getstate(), name, np.asarray(keys).tobytes(), *rest
