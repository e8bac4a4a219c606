"""Any sequence of requests leaves the agent with exactly the processes a simple model says it has."""

import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadbed.errors import ConflictError, NotFoundError
from roadbed.runtime.base import ProcessSpec
from roadbed.runtime.local.client import SyncAgent
from tests.runtime.local.conftest import alive, eventually

NAMES = ("a", "b", "c")
ARGV = {"stays": ("sleep", "1000"), "ends": ("sh", "-c", "exit 5")}
_steps = st.tuples(st.sampled_from(["stays", "ends", "stop", "forget", "tail"]), st.sampled_from(NAMES))


class Model:
    """What should be true: names that run, names that ended and are remembered, names that ever had a log."""

    def __init__(self, agent: SyncAgent) -> None:
        self.agent = agent
        self.running: dict[str, int] = {}
        self.ended: dict[str, tuple[int | None, int | None]] = {}

    def step(self, action: str, name: str) -> None:
        if action in ARGV:
            self.start(action, name)
        elif action == "stop":
            self.stop(name)
        elif action == "forget" and name in self.running:
            with pytest.raises(ConflictError):
                self.agent.forget(name)
        elif action == "forget":
            self.agent.forget(name)
            self.ended.pop(name, None)
        elif name in self.running or name in self.ended:
            assert self.agent.log_tail(name) == b""

    def start(self, action: str, name: str) -> None:
        spec = ProcessSpec(name=name, argv=ARGV[action])
        if name in self.running:
            with pytest.raises(ConflictError):
                self.agent.start(spec)
            return
        pid = self.agent.start(spec).pid
        self.ended.pop(name, None)
        if action == "stays":
            self.running[name] = pid
        else:
            eventually(lambda: self.find(name).state == "exited")
            self.ended[name] = (5, None)

    def stop(self, name: str) -> None:
        if name not in self.running and name not in self.ended:
            with pytest.raises(NotFoundError):
                self.agent.stop(name)
            return
        status = self.agent.stop(name)
        if name in self.running:
            assert not alive(self.running.pop(name))
            self.ended[name] = (None, signal.SIGTERM)
        assert (status.exit_code, status.signal) == self.ended[name]

    def find(self, name: str) -> Any:
        return next(status for status in self.agent.list() if status.name == name)

    def check(self) -> None:
        statuses = {status.name: status for status in self.agent.list()}
        assert set(statuses) == set(self.running) | set(self.ended)
        for name, pid in self.running.items():
            assert (statuses[name].state, statuses[name].pid) == ("running", pid)
            assert alive(pid)
        for name, end in self.ended.items():
            assert statuses[name].state == "exited"
            assert (statuses[name].exit_code, statuses[name].signal) == end
        assert self.agent.ping().num_processes == len(self.running)


def test_any_sequence_of_requests(agent: SyncAgent) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_steps, max_size=12))
    def run(steps: list[tuple[str, str]]) -> None:
        model = Model(agent)
        for action, name in steps:
            model.step(action, name)
            model.check()
        for name in NAMES:
            if name in model.running:
                model.stop(name)
            agent.forget(name)

    run()
