from hypothesis import given
from hypothesis import strategies as st

from roadbed.engine.vllm_metrics import read_kv_tokens, read_load

PAGE = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="Qwen/Qwen2.5-7B-Instruct"} 12.0
vllm:num_requests_waiting{engine="0",model_name="Qwen/Qwen2.5-7B-Instruct"} 3.0
vllm:kv_cache_usage_perc{engine="0",model_name="Qwen/Qwen2.5-7B-Instruct"} 0.4375
vllm:generation_tokens_total{engine="0",model_name="Qwen/Qwen2.5-7B-Instruct"} 51234.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_cpu_blocks="None",num_gpu_blocks="27348"} 1.0
"""


def test_a_real_page() -> None:
    report = read_load(PAGE)
    assert report is not None
    assert (report.num_running, report.num_waiting, report.num_tokens_total) == (12, 3, 51234)
    assert report.kv_usage == 0.4375
    assert read_kv_tokens(PAGE) == 16 * 27348


def test_ranks_are_added_and_usage_is_their_mean() -> None:
    second = PAGE.replace(b'engine="0"', b'engine="1"').replace(b"0.4375", b"0.0625")
    report = read_load(PAGE + second)
    assert report is not None
    assert (report.num_running, report.kv_usage) == (24, 0.25)
    assert read_kv_tokens(PAGE + second) == 2 * 16 * 27348


def test_older_names_and_other_servers() -> None:
    old = read_load(PAGE.replace(b"kv_cache_usage_perc", b"gpu_cache_usage_perc"))
    assert old is not None
    assert old.kv_usage == 0.4375
    assert read_load(b"python_gc_objects_collected_total 5\n") is None
    assert read_kv_tokens(PAGE.replace(b'"27348"', b'"None"')) is None


def test_broken_gauges_are_no_load() -> None:
    report = read_load(b"vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf\nvllm:kv_cache_usage_perc NaN\n")
    assert report is not None
    assert (report.num_running, report.num_waiting, report.kv_usage) == (0, 0, 0.0)


@given(st.binary(max_size=200))
def test_never_raises(noise: bytes) -> None:
    report = read_load(PAGE + noise)
    assert report is None or 0 <= report.kv_usage <= 1
    read_kv_tokens(noise + PAGE)
