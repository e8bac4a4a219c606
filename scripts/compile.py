"""Compiles the hot path with mypyc, from the sources that also run as they are.

    python scripts/compile.py            build into src/roadbed/_compiled; says so and exits 0 where it can't
    python scripts/compile.py --require  the same, but exit 1 where it can't
    python scripts/compile.py --clean    remove what was built

A request costs half the processor time then, a pass of the scheduler two thirds. Everything works without:
`roadbed/_native.py` loads what is here only while it is as new as the sources it came from, and never when ROADBED_PURE
is set. Needs a C compiler and Python's headers. Left out are modules whose msgspec Structs are decoded (a compiled
class keeps no annotations to decode by), whatever runs once, and what only calls numpy (scores, trees), in vain.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
TARGET = SOURCE / "roadbed" / "_compiled"
MODULES = (
    "router.account", "router.adapters", "router.admission", "router.base", "router.blocks", "router.core",
    "router.estimate", "router.limits", "router.live", "router.pace", "router.pool", "router.prefix", "router.replica",
    "router.sessions", "router.policies.aibrix", "router.policies.base", "router.policies.dynamo",
    "router.policies.least_load", "router.policies.llmd", "router.policies.llumnix",
    "router.policies.production_stack", "router.policies.roadbed", "router.policies.round_robin",
    "router.policies.smg", "router.policies.three_layer", "router.split",
    "gateway.access", "gateway.account", "gateway.exchange", "gateway.metrics", "gateway.plane", "gateway.routes",
    "gateway.tables", "gateway.ledger.segment", "gateway.ledger.writer", "gateway.openai.bodies", "gateway.wire.http",
    "gateway.wire.server", "gateway.wire.upstream",
    "scheduler.accounts", "scheduler.admit", "scheduler.backfill", "scheduler.book", "scheduler.forecast",
    "scheduler.order", "scheduler.placement", "scheduler.planner", "scheduler.pool", "scheduler.preempt",
    "scheduler.relief", "scheduler.state", "twin.kernel",
)  # fmt: skip


def missing() -> str:
    """What this machine lacks for compiling, "" if nothing."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "no Python headers (Python.h)"
    return ""


def build(work: Path) -> None:
    """mypy, mypyc and the C compiler, in this process; artefacts go to `work`/lib. Raises whatever they raise."""
    from mypyc.build import mypycify
    from setuptools import setup

    os.chdir(SOURCE)
    paths = [f"roadbed/{name.replace('.', '/')}.py" for name in MODULES]
    flags = ["--strict", "--ignore-missing-imports", f"--cache-dir={work / 'mypy'}"]
    extensions = mypycify(
        [*flags, *paths], opt_level="3", debug_level="0", group_name="roadbed", target_dir=str(work / "c")
    )
    options = {"build": {"build_lib": str(work / "lib"), "build_temp": str(work / "temp")}}
    setup(name="roadbed-hot", packages=[], ext_modules=extensions, options=options, script_args=["-q", "build_ext"])


def install(lib: Path) -> None:
    """Moves what was built to its place; the manifest, which makes it count, comes last."""
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir()
    lines = []
    for artefact in sorted(lib.rglob(f"*{EXTENSION_SUFFIXES[0]}")):
        module = ".".join(artefact.relative_to(lib).with_name(artefact.name.partition(".")[0]).parts)
        shutil.copy2(artefact, TARGET / f"{module}.so")
        source = SOURCE / f"{module.replace('.', '/')}.py"
        stat = source.stat() if source.exists() else None
        lines.append(f"{module} {stat.st_size if stat else 0} {stat.st_mtime_ns if stat else 0}\n")
    draft = TARGET / "manifest.new"
    draft.write_text(f"{EXTENSION_SUFFIXES[0]}\n" + "".join(lines))
    draft.rename(TARGET / "manifest")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--require", action="store_true", help="fail where nothing can be compiled")
    parser.add_argument("--clean", action="store_true", help="remove what was built")
    parser.add_argument("--build-in", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.build_in is not None:
        build(args.build_in)
        return 0
    if args.clean or os.environ.get("ROADBED_PURE"):
        shutil.rmtree(TARGET, ignore_errors=True)
        print("the hot path runs as plain Python")
        return 0
    reason = missing()
    with tempfile.TemporaryDirectory() as folder:
        if not reason:
            argv = [sys.executable, __file__, "--build-in", folder]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = f"the compiler failed: {(done.stdout + done.stderr)[-2000:]}"
        if not reason:
            install(Path(folder) / "lib")
            print("the hot path is compiled; ROADBED_PURE=1 runs it as plain Python")
            return 0
    print(f"the hot path runs as plain Python: {reason}")
    return 1 if args.require else 0


if __name__ == "__main__":
    sys.exit(main())
