import os
import subprocess
import sys

from roadbed.runtime.local.procfs import pids_with_environment, start_ticks


def test_start_ticks_tell_two_processes_apart_and_stay() -> None:
    mine = start_ticks(os.getpid())
    assert mine == start_ticks(os.getpid())
    assert start_ticks(2**22 + 1) is None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert (start_ticks(child.pid) or 0) >= (mine or 0) > 0
        child.communicate(b"\n")


def test_a_name_with_spaces_and_brackets_does_not_confuse_the_parser() -> None:
    script = "open('/proc/self/comm','w').write('a) R 1 (b'); print(flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert (start_ticks(child.pid) or 0) > 0
        child.communicate(b"\n")


def test_finds_processes_by_a_whole_environment_entry() -> None:
    environment = {**os.environ, "ROADBED_TEST_MARK": "abc"}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=environment) as child:
        assert child.pid in pids_with_environment(b"ROADBED_TEST_MARK=abc")
        assert child.pid not in pids_with_environment(b"ROADBED_TEST_MARK=ab")
        child.communicate()
