"""Crews: order, errors, threads that come and go."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from posecli.crew import Crew, Task
from posecli.errors import ConfigError

_PATIENCE_S = 20.0


def _helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("posecli-helper")]


@pytest.fixture(autouse=True)
def _nobody_stays() -> Iterator[None]:
    gc.collect()
    before = threading.active_count()
    yield
    gc.collect()
    deadline = time.monotonic() + _PATIENCE_S
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def in_time(work: Callable[[], None]) -> None:
    """Fail instead of waiting for ever."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    assert not thread.is_alive(), "it hangs"
    if failures:
        raise failures[0]


def test_a_crew_of_one_works_in_the_callers_thread_when_asked() -> None:
    with Crew(1) as crew:
        task = crew.start(threading.current_thread)
        assert not task.is_done
        assert crew.finish(task) is threading.current_thread()
        assert _helpers() == []


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(num_threads: int) -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0.0)
        return item * item

    with Crew(num_threads) as crew:
        assert crew.map(slow_first, range(20)) == [item * item for item in range(20)]


def test_all_hands_take_part() -> None:
    with Crew(3) as crew:
        barrier = threading.Barrier(3, timeout=_PATIENCE_S)

        def meet(_: int) -> str:
            barrier.wait()  # passes only when three threads are at work at once
            return threading.current_thread().name

        assert len(set(crew.map(meet, range(3)))) == 3


def test_every_helper_has_one_torch_thread_and_the_caller_keeps_his() -> None:
    torch.set_num_threads(3)
    with Crew(3) as crew:
        assert torch.get_num_threads() == 3
        assert crew.map(lambda _: torch.get_num_threads(), range(6)) == [1] * 6
        assert torch.get_num_threads() == 3
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [3]


def test_idle_helpers_lend_their_threads() -> None:
    release = threading.Event()
    with Crew(3) as crew:
        with crew.all_hands() as count:
            assert count == torch.get_num_threads() == 3
        began = threading.Event()

        def work() -> None:
            began.set()
            release.wait(_PATIENCE_S)

        task = crew.start(work)
        assert began.wait(_PATIENCE_S)
        with crew.all_hands() as count:
            assert count == torch.get_num_threads() == 1
        release.set()
        crew.finish(task)
    assert torch.get_num_threads() == 1


def test_the_original_error_comes_out_and_the_rest_is_not_begun() -> None:
    error = KeyError("mine")
    begun: list[int] = []

    def fail(item: int) -> None:
        begun.append(item)
        time.sleep(0.01)
        if item == 1:
            raise error

    with Crew(2) as crew:
        with pytest.raises(KeyError) as caught:
            crew.map(fail, range(100))
        assert caught.value is error
        assert len(begun) < 100
        assert crew.map(str, range(3)) == ["0", "1", "2"]


def test_an_interruption_of_the_caller_comes_out_at_once() -> None:
    def interrupt(_: int) -> None:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        time.sleep(0.05)

    with Crew(2) as crew, pytest.raises(KeyboardInterrupt):
        crew.map(interrupt, range(50))


def test_a_caller_who_waits_does_what_else_is_there() -> None:
    seen: dict[str, threading.Thread] = {}
    began, other_done = threading.Event(), threading.Event()

    def awaited() -> None:
        began.set()
        assert other_done.wait(_PATIENCE_S)

    def other() -> None:
        seen["other"] = threading.current_thread()
        other_done.set()

    with Crew(2) as crew:
        task = crew.start(awaited)
        assert began.wait(_PATIENCE_S)
        crew.start(other)
        crew.finish(task)  # ends only if the caller does the other one, because the only helper waits for it
        assert seen["other"] is threading.current_thread()


def test_urgent_tasks_go_first() -> None:
    order: list[str] = []
    release = threading.Event()
    with Crew(2) as crew:
        began = threading.Event()

        def block() -> None:
            began.set()
            release.wait(_PATIENCE_S)

        crew.start(block)
        assert began.wait(_PATIENCE_S)
        crew.start(lambda: order.append("other"))
        last = crew.start(lambda: order.append("last"))
        crew.start(lambda: order.append("urgent"), is_urgent=True)
        release.set()
        while not last.is_done:
            time.sleep(0.001)
    assert order == ["urgent", "other", "last"]


def test_who_leaves_waits_for_what_is_under_way_only() -> None:
    def leave() -> None:
        done: list[int] = []
        with Crew(2) as crew:

            def work() -> None:
                time.sleep(0.02)
                done.append(1)

            for _ in range(50):
                crew.start(work)
            time.sleep(0.05)
        assert 1 <= len(done) < 10
        assert _helpers() == []

    in_time(leave)


def test_dropped_tasks_are_not_begun() -> None:
    def drop() -> None:
        release, done = threading.Event(), []
        with Crew(2) as crew:
            blocked = crew.start(lambda: release.wait(_PATIENCE_S))
            dropped: Task[None] = crew.start(lambda: done.append(1))
            crew.drop([dropped])
            release.set()
            crew.drop([blocked])
            assert blocked.is_done or not blocked.is_helped
        assert done == []

    in_time(drop)


def test_a_forgotten_crew_goes() -> None:
    crew = Crew(3)
    assert len(_helpers()) == 2
    del crew
    gc.collect()
    deadline = time.monotonic() + _PATIENCE_S
    while _helpers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _helpers() == []


def test_a_crew_sent_home_says_so_instead_of_hanging() -> None:
    crew = Crew(2)
    crew.close()
    with pytest.raises(RuntimeError, match="sent home"):
        crew.start(lambda: None)
    with pytest.raises(RuntimeError, match="sent home"):
        crew.finish(Task(lambda: None))


def test_a_crew_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 threads"):
        Crew(0)
