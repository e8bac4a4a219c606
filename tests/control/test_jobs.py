"""Services, tasks and quota documents as the scheduler sees them."""

from roadbed.control.jobs import FOR_EVER_S, NO_CHIP, quota_name, quota_tree, replica_job, shape_of, task_job
from roadbed.control.store.replica import ReplicaRow
from roadbed.control.store.task import TaskRow
from roadbed.spec.load import load_text
from roadbed.spec.quota import Quota
from roadbed.spec.service import Resources, Service
from roadbed.spec.task import Task

TASK = """
kind: task
name: pretrain
command: train
workers: 2..4
resources: {cpu: 1.5, memory: 1GiB, accelerators: "H100:8"}
quota: research/nlp
priority: 7
preemptible: false
max_duration: 2h
checkpoint_every: 10m
grace_period: 5s
node_selector: {zone: a}
placement: spread
topology: {required: pod, slices: [{each: 16, in: segment}]}
"""


def task(text: str = TASK) -> TaskRow:
    (spec,) = load_text(text)
    assert isinstance(spec, Task)
    return TaskRow(name=spec.name, spec=spec, submitted_at=5.0)


def test_a_task_keeps_all_it_asked_for() -> None:
    job = task_job(task(), {"H100-80GB"})
    shape = job.gang.shape
    assert (job.id, job.quota, job.priority, job.preemptible) == ("task/pretrain", "nlp", 7, False)
    assert (job.duration_s, job.checkpoint_s, job.grace_s, job.submit_s) == (7200.0, 600.0, 5.0, 5.0)
    assert (shape.num_devices, shape.milli, shape.cpu_milli, shape.memory_mib) == (8, 1000, 1500, 1024)
    assert shape.labels == (("zone", "a"),)
    assert (job.gang.num, job.gang.max_num, job.gang.mode) == (2, 4, "spread")
    assert job.gang.topology.required == "pod"
    assert job.gang.topology.slices == ((16, "segment"),)


def test_any_accelerator_is_never_a_cpu() -> None:
    half = Resources.model_validate({"gpu": 0.5})
    assert shape_of(half, {"cpu", "T4", ""}).chips == ("T4",)
    assert shape_of(half, {"cpu"}).chips == (NO_CHIP,)
    assert shape_of(half, {"T4"}).milli == 500
    assert shape_of(Resources.model_validate({"accelerators": "cpu:1"}), {"cpu"}).chips == ("cpu",)
    assert shape_of(Resources(), {"cpu"}).num_devices == 0


def test_memory_is_rounded_up_so_that_nothing_is_promised_twice() -> None:
    assert shape_of(Resources(memory=2**20 + 1), set()).memory_mib == 2


def test_replicas_answer_somebody_and_are_never_preempted() -> None:
    row = ReplicaRow(id="chat-0", service="chat", generation=1, spec=Service(name="chat", model="m"), idx=0, slot=0)
    job = replica_job(row, {"cpu"})
    assert (job.id, job.preemptible, job.quota, job.gang.num) == ("replica/chat-0", False, "default", 1)
    assert job.duration_s == FOR_EVER_S, "nobody waits for a service to end"


def test_quotas_become_a_tree_with_a_default_root() -> None:
    specs = load_text(
        "kind: quota\nname: research\nresources: {gpu: 4..16, cpu: 8..}\n---\n"
        "kind: quota\nname: nlp\nparent: research\nweight: 2\nlending: false\nstrategy: fifo\nbackfill: 'off'\n"
        "preemption: {between_siblings: true}\nhalf_life: 1h\n"
    )
    tree = {quota.name: quota for quota in quota_tree([spec for spec in specs if isinstance(spec, Quota)])}
    assert set(tree) == {"research", "nlp", "default"}
    assert tree["research"].min == {"gpu": 4000, "cpu": 8000}
    assert tree["research"].max == {"gpu": 16_000}
    nlp = tree["nlp"]
    assert (nlp.parent, nlp.weight, nlp.lending, nlp.strategy, nlp.backfill) == ("research", 2.0, False, "fifo", "off")
    assert (nlp.preempt_siblings, nlp.preempt_children, nlp.half_life_s) == (True, False, 3600.0)
    assert quota_name("research/nlp") == "nlp"
    assert quota_name(None) == "default"
