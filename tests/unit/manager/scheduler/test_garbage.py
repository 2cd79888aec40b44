"""The collector of cycles rests while plans are made, however many at once, and works again after."""

import gc
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from caravan_manager.scheduler.garbage import no_collection


def test_the_collector_rests_until_the_last_one_is_done() -> None:
    together = Barrier(4, timeout=10)

    def plan(number: int) -> bool:
        with no_collection():
            together.wait()
            was_off = not gc.isenabled()
        together.wait()
        return was_off

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(plan, range(4))) == [True] * 4
    assert gc.isenabled()


def test_the_collector_works_again_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), no_collection():
        1 / 0  # noqa: B018
    assert gc.isenabled()
