"""Tests mirror the source: router/core.py is tested in tests/router/test_core.py. What is tested elsewhere says where.

The list may only shrink: a line whose module has its own test by now fails.
"""

from tests.house.source import SRC, TESTS, modules

ELSEWHERE = {
    # contracts and records: no logic of their own
    "engine/base.py": "contract",
    "router/base.py": "contract",
    "router/policies/base.py": "contract",
    "runtime/base.py": "contract",
    "scheduler/gang.py": "contract; scheduler/planner",
    "scheduler/policies/base.py": "contract; every test of scheduler/policies",
    "fabric/constants.py": "contract; every test of fabric/collective",
    "gateway/snapshot.py": "contract; written by control/reconcilers/publisher, read by gateway/tables",
    "control/reconcilers/actions.py": "contract; control/reconcilers/decide",
    "control/store/tables.py": "tables; every test of control/store",
    # tested through the surface they are
    "cli/__init__.py": "cli/test_startup.py",
    "cli/control_process.py": "cli/test_up.py: every `up` runs it",
    "control/api/apply.py": "control/api/test_routes.py",
    "control/api/common.py": "control/api/test_routes.py",
    "control/api/events.py": "control/api/test_routes.py",
    "control/api/keys.py": "control/api/test_routes.py",
    "control/api/models.py": "control/api/test_routes.py",
    "control/api/platform.py": "control/api/test_routes.py",
    "control/api/pool.py": "control/services/test_pool.py",
    "control/api/processes.py": "control/api/test_routes.py",
    "control/api/services.py": "control/api/test_routes.py",
    "control/api/strict.py": "control/test_openapi.py",
    "control/api/tasks.py": "control/services/test_pool.py",
    "control/api/tenants.py": "control/api/test_routes.py",
    "control/api/usage.py": "control/api/test_routes.py",
    "control/app.py": "control/test_openapi.py",
    "control/migrations/env.py": "control/store/test_database.py",
    "control/migrations/versions/0001_initial.py": "control/store/test_database.py",
    "control/migrations/versions/0002_pool.py": "control/store/test_database.py",
    "control/migrations/versions/0003_predicted.py": "control/store/test_database.py",
    "control/migrations/versions/0004_scaling.py": "control/store/test_database.py",
    "control/reconcilers/ask.py": "control/reconcilers/test_decide.py",
    "control/reconcilers/transition.py": "control/reconcilers/test_service.py",
    "control/services/apply.py": "control/api/test_routes.py",
    "control/services/status.py": "control/api/test_routes.py",
    "control/services/tenant.py": "control/services/test_key.py",
    "control/state.py": "control/test_main.py",
    "control/store/key.py": "control/store/test_rows.py",
    "control/store/meta.py": "control/store/test_rows.py",
    "control/store/migrate.py": "control/store/test_database.py",
    "control/store/node.py": "control/services/test_pool.py",
    "control/store/quota.py": "control/services/test_quota.py",
    "control/store/replica.py": "control/store/test_rows.py",
    "control/store/service.py": "control/store/test_rows.py",
    "control/store/task.py": "control/services/test_task.py",
    "control/store/tenant.py": "control/store/test_rows.py",
    "gateway/openai/schema.py": "gateway/openai/test_bodies.py",
    "gateway/routes.py": "gateway/test_plane.py",
    "gateway/wire/http.py": "gateway/wire/test_server.py",
    "gateway/wire/upstream.py": "gateway/test_exchange.py",
    "spec/platform.py": "spec/test_load.py",
    "spec/tenant.py": "spec/test_load.py",
}


def _own_test(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/test_{file.lstrip('_')}" if folder else f"test_{file.lstrip('_')}"


def _has_logic(name: str, num_lines: int) -> bool:
    return not name.endswith(("__init__.py", "__main__.py")) and num_lines > 0


def test_every_module_has_its_test() -> None:
    missing = {
        module.name
        for module in modules()
        if _has_logic(module.name, module.num_lines) and not (TESTS / _own_test(module.name)).exists()
    }
    assert missing - set(ELSEWHERE) == set()


def test_the_list_only_shrinks() -> None:
    assert [name for name in ELSEWHERE if not (SRC / name).exists()] == []
    assert [name for name in ELSEWHERE if (TESTS / _own_test(name)).exists()] == []


def test_what_is_tested_elsewhere_is_tested_there() -> None:
    places = {name: reason.partition(":")[0] for name, reason in ELSEWHERE.items() if "test_" in reason}
    assert {place for place in places.values() if not (TESTS / place).exists()} == set()


def test_every_test_folder_is_a_package() -> None:
    folders = {path.parent for path in TESTS.rglob("test_*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
