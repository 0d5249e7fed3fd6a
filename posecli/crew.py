"""A fixed number of threads for work of any kind: a caller and its helpers.

The caller counts as one of the threads. It gives out tasks, takes part in them while it waits, and runs whatever no helper has begun;
so nothing is ever oversubscribed, and a crew of one does everything in the caller's thread, at the moment it is asked for.

torch counts its own threads per thread: each helper has one. While all helpers are idle, the caller may use theirs (`Crew.all_hands`).
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import torch

from posecli.errors import ConfigError

T = TypeVar("T")
S = TypeVar("S")


class Task(Generic[T]):
    """Work that somebody of a crew does; see `Crew.start`."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._value: T | None = None
        self._error: BaseException | None = None
        self.is_helped = False
        """Whether a helper has taken it."""
        self.is_done = False

    def run(self) -> None:
        """Do it, and keep what comes of it."""
        work, self._work = self._work, None  # what the work holds on to is free afterwards
        try:
            self._value = cast("Callable[[], T]", work)()
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise

    def result(self) -> T:
        """What came of it, once; an error is raised as it was."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # it knows this frame: no cycle that would keep tensors alive
        value, self._value = self._value, None
        return cast("T", value)


class _Desk:
    """What the threads of a crew share. Helpers know it but not the crew: a forgotten crew can go, and they with it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.urgent: deque[Task[Any]] = deque()
        self.other: deque[Task[Any]] = deque()
        self.num_running = 0  # tasks that helpers are at
        self.num_ready = 0  # helpers that have come up
        self.is_closed = False

    def take(self) -> Task[Any] | None:
        """The next task; to be called with ``changed`` held."""
        for queue in (self.urgent, self.other):
            if queue:
                return queue.popleft()
        return None

    def remove(self, task: Task[Any]) -> bool:
        """Take out a task nobody has begun; to be called with ``changed`` held."""
        for queue in (self.urgent, self.other):
            if task in queue:
                queue.remove(task)
                return True
        return False

    def help(self) -> None:
        """A helper's life."""
        torch.set_num_threads(1)
        with self.changed:
            self.num_ready += 1
            self.changed.notify_all()
            while True:
                task = self.take()
                if task is None:
                    if self.is_closed:
                        return
                    self.changed.wait()
                    continue
                task.is_helped = True
                self.num_running += 1
                self.changed.release()
                try:
                    with contextlib.suppress(
                        BaseException
                    ):  # kept in the task, and raised where its result is asked for
                        task.run()
                finally:
                    self.changed.acquire()
                    self.num_running -= 1
                    task.is_done = True
                    del task  # the last reference may be ours, and what it holds may be large
                    self.changed.notify_all()

    def close(self) -> None:
        """Send the helpers home when they have done what they are at."""
        with self.changed:
            self.is_closed = True
            self.urgent.clear()
            self.other.clear()
            self.changed.notify_all()


class Crew:
    """A caller and ``num_threads - 1`` helpers. Only one thread is the caller; tasks may start tasks, but not wait for them.

    Args:
        num_threads: All threads, the caller's included; at least 1.
    """

    def __init__(self, num_threads: int) -> None:
        if num_threads < 1:
            raise ConfigError(f"{num_threads} threads: at least one is needed")
        self.num_threads = num_threads
        self._desk = _Desk()
        self._helpers = [
            threading.Thread(target=self._desk.help, name=f"posecli-helper-{number}", daemon=True)
            for number in range(1, num_threads)
        ]
        weakref.finalize(self, self._desk.close)
        own = torch.get_num_threads()
        for helper in self._helpers:
            helper.start()
        if self._helpers:
            with self._desk.changed:
                while self._desk.num_ready < len(self._helpers):
                    self._desk.changed.wait()
            # the helpers' choice has become that of threads yet to come; ours stays what it was, and theirs becomes it again
            torch.set_num_threads(own)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, work: Callable[[], T], *, is_urgent: bool = False) -> Task[T]:
        """Have something done when somebody has time, urgent tasks first; `finish` gives the result."""
        task = Task(work)
        desk = self._desk
        with desk.changed:
            if desk.is_closed:
                raise RuntimeError("the crew has been sent home")
            (desk.urgent if is_urgent else desk.other).append(task)
            desk.changed.notify()
        return task

    def finish(self, task: Task[T]) -> T:
        """The result of a task: the caller does it if nobody has begun, and other tasks while it waits.

        Raises:
            Whatever the task raised.
        """
        desk = self._desk
        while True:
            with desk.changed:
                if task.is_done:
                    return task.result()
                todo: Task[Any] | None = task if desk.remove(task) else desk.take()
                if todo is None:
                    if desk.is_closed:
                        raise RuntimeError("the crew has been sent home")
                    desk.changed.wait()
                    continue
            with _torch_threads(1):
                try:
                    todo.run()
                finally:
                    todo.is_done = True

    def map(self, work: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """``work`` of each item, in order, by all hands; the first error in that order is raised when all have stopped."""
        tasks: list[Task[T]] = []
        try:
            for item in items:
                tasks.append(self.start(_Call(work, item), is_urgent=True))
            return [self.finish(task) for task in tasks]
        finally:
            self.drop(tasks)

    def drop(self, tasks: Sequence[Task[Any]]) -> None:
        """Forget tasks: they are not begun any more; those under way are waited for."""
        desk = self._desk
        with desk.changed:
            for task in tasks:
                desk.remove(task)
            # one that an interruption has torn out of the caller's own hands is never done
            while any(task.is_helped and not task.is_done for task in tasks):
                desk.changed.wait()

    @contextlib.contextmanager
    def all_hands(self) -> Iterator[int]:
        """Inside, torch may use the idle helpers' threads too; to be left before they get new tasks.

        Yields:
            The number of threads; 1 where the helpers are busy.
        """
        desk = self._desk
        with desk.changed:
            num_waiting = len(desk.urgent) + len(desk.other)
            # a busy helper may start another task when it is done
            spare = max(0, len(self._helpers) - 2 * desk.num_running - num_waiting)
        with _torch_threads(1 + spare):
            yield 1 + spare

    def close(self) -> None:
        """Drop what nobody has begun, wait for the rest, and send the helpers home."""
        self._desk.close()
        for helper in self._helpers:
            helper.join()


class _Call(Generic[S, T]):
    """A function and its argument."""

    def __init__(self, work: Callable[[S], T], item: S) -> None:
        self._work, self._item = work, item

    def __call__(self) -> T:
        return self._work(self._item)


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """As many torch threads for this thread, inside."""
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


__all__ = ["Crew", "Task"]
