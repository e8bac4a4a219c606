"""`kind: service` — a model kept answering requests, on min..max replicas of one engine.

kind: service
name: chat
model: smollm2-135m-instruct
engine: llamacpp
replicas: 0..4
scaling: {target: 3, idle: 10m}
slo: {ttft: 2s, tpot: 50ms}
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from roadbed.spec.accelerator import AcceleratorRequest
from roadbed.spec.base import Complaints, Name, QuotaPath, Spec
from roadbed.spec.quantity import Bytes, IntRange, Seconds

PolicyName = Literal[
    "roadbed", "round_robin", "least_load", "power_of_two", "session_affinity", "three_layer", "smg_cache_aware",
    "smg_least_load", "vllm_prefixaware", "vllm_loadaware", "aibrix_prefix_cache", "llmd_111", "llmd_322",
    "dynamo_linear", "dynamo_tuned", "dynamo_lmetric", "llumnix_cache_aware", "prefix_affinity",
]  # fmt: skip
ScalerName = Literal["roadbed", "hpa", "kpa", "apa"]
NEVER_ZERO: frozenset[str] = frozenset({"hpa", "apa"})
"""Scaling policies that always keep one replica."""
KV_ROLES = ("kv_producer", "kv_consumer", "kv_both")
MOST_PLACES = 8
"""Adapters a vLLM replica has in use at once where nothing is said: each takes its room of device memory."""
Priority = Annotated[int, Field(ge=1, le=9)]


class Adapter(Spec):
    """A LoRA adapter of the service's model. Clients ask for it by its name, as for a model of its own."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")]
    source: Annotated[str, Field(min_length=1, max_length=4096)]
    """On the machine, a path or file:…: a GGUF file for llamacpp, a folder for vllm, which also takes hf:org/name."""


def _distinct(adapters: list[Adapter]) -> list[Adapter]:
    names = [adapter.name for adapter in adapters]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]!r} is there twice; each adapter needs a name of its own")
    return adapters


Adapters = Annotated[list[Adapter], Field(max_length=1000), AfterValidator(_distinct)]


class LlamaCppEngine(Spec):
    """llama.cpp in a process of its own, from the xllamacpp wheel."""

    kind: Literal["llamacpp"] = "llamacpp"
    context_tokens: Annotated[int, Field(ge=128, le=1_048_576)] = 4096
    """Context of one slot; the engine's KV cache holds context_tokens × parallel."""
    parallel: Annotated[int, Field(ge=1, le=256)] = 4
    """Requests decoded together (slots)."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """OpenMP threads; default cores − 1 shared by the replicas of this node, never oversubscribed."""
    embeddings: bool = False
    """Serve /v1/embeddings (needs an embedding model)."""
    prompt_cache: Bytes = 256 * 2**20
    """Host memory for prompts that left their slot."""
    adapters: Adapters = []
    """LoRA adapters, all loaded when the engine starts."""


class Roles(Spec):
    """Prefill and decode on replicas of their own."""

    prefill: Annotated[int, Field(ge=1, le=1000)]
    decode: Annotated[int, Field(ge=1, le=1000)]


class VllmEngine(Spec):
    """`vllm serve`, started from an interpreter that has vLLM installed."""

    kind: Literal["vllm"] = "vllm"
    python: str = "python3"
    """Interpreter whose environment has vLLM."""
    args: list[str] = []
    """Extra arguments of `vllm serve`, as they are."""
    env: dict[str, str] = {}
    kv_events: bool = False
    """Subscribe to the engine's ZMQ KV-cache events for an exact prefix index (extra: roadbed[kvevents])."""
    start_timeout: Seconds = 900.0
    adapters: Adapters = []
    """LoRA adapters it may load (--enable-lora --lora-modules)."""
    max_adapters: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Adapters in use at once (--max-loras); default: all of them, at most 8."""
    roles: Roles | None = None
    """How many replicas compute prompts and how many decode; the gateway sends every request to one of each."""
    kv_transfer: dict[str, Any] | None = None
    """--kv-transfer-config as it is: kv_connector (NixlConnector, …), kv_role (kv_producer, kv_consumer, kv_both), …"""

    @field_validator("kv_transfer")
    @classmethod
    def _known_role(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        connector, role = value.get("kv_connector"), value.get("kv_role")
        if not isinstance(connector, str) or not connector:
            raise ValueError("kv_connector names no connector, such as NixlConnector")
        if role not in KV_ROLES:
            raise ValueError(f"kv_role is {role!r}, not one of {', '.join(KV_ROLES)}")
        return value

    @model_validator(mode="after")
    def _used(self) -> "VllmEngine":
        if self.max_adapters is not None and not self.adapters:
            raise ValueError("max_adapters: there are no adapters")
        if self.roles is not None and (self.kv_transfer or {}).get("kv_role") != "kv_both":
            raise ValueError("roles: the KV cache needs a way: write kv_transfer with kv_role kv_both")
        return self

    @property
    def adapter_places(self) -> int:
        """Adapters in use at once; 0 without any."""
        return self.max_adapters or min(len(self.adapters), MOST_PLACES)


class OpenAIEngine(Spec):
    """Any OpenAI-compatible server that someone else runs; one replica per URL."""

    kind: Literal["openai"] = "openai"
    urls: Annotated[list[str], Field(min_length=1, max_length=1024)]
    """Base URLs ending before /v1, such as http://10.0.0.7:8000."""
    upstream_model: str | None = None
    """The model's name there, when it differs from the service's model."""
    api_key_env: str | None = None
    """Environment variable holding the key to send; the key itself is never stored."""
    max_concurrency: Annotated[int, Field(ge=1, le=100_000)] = 256
    context_tokens: Annotated[int, Field(ge=128)] = 131_072
    kv_tokens: Annotated[int, Field(ge=128)] = 262_144
    """KV capacity of each server; bounds the prefix index kept for it."""


def _engine_shorthand(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class _OrKind:
    """In JSON Schema: the kind alone will do, where it needs no further keys."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": ["llamacpp", "vllm"]}, handler(core_schema)]}


Engine = Annotated[
    Annotated[LlamaCppEngine | VllmEngine | OpenAIEngine, Field(discriminator="kind")],
    BeforeValidator(_engine_shorthand),
    _OrKind(),
]


class Resources(Spec):
    """What one replica or process needs of its node. CPU in cores, memory in bytes."""

    cpu: Annotated[float, Field(gt=0, le=4096)] = 1.0
    memory: Bytes = 1 * 2**30
    accelerators: Annotated[AcceleratorRequest | None, Field(validation_alias=AliasChoices("accelerators", "gpu"))] = (
        None
    )
    """`H100:8`, `any of [H100, H800]:8`, `24GB..80GB:2`; `gpu: 0.5` is another way to write it."""

    @model_validator(mode="before")
    @classmethod
    def _one_way(cls, value: Any) -> Any:
        if isinstance(value, dict) and {"accelerators", "gpu"} <= value.keys():
            raise ValueError("accelerators and gpu say the same; keep one")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Both ways to write it, but not together."""
        written = handler.resolve_ref_schema(handler(core_schema))
        written["properties"]["gpu"] = written["properties"]["accelerators"]
        written["not"] = {"required": ["accelerators", "gpu"]}
        return written


class Slo(Spec):
    """Targets the router aims for; a request may tighten them with x-slo-ttft-ms and x-slo-tpot-ms."""

    ttft: Seconds | None = None
    tpot: Seconds | None = None


class Routing(Spec):
    """How requests find a replica."""

    policy: PolicyName = "roadbed"
    max_queue: Annotated[int, Field(ge=0, le=100_000)] = 512
    """Requests that may wait in one gateway worker when every replica is full; one more is answered 429."""
    max_wait: Seconds = 30.0
    """Longest wait in that queue before 429."""


class Scaling(Spec):
    """How many of replicas.min..max there are, decided by load. Absent: replicas.min, or what `roadbed scale` says."""

    policy: ScalerName = "roadbed"
    """roadbed: load now, forecast, cold start, hysteresis. hpa, kpa, apa: the published formulas."""
    target: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Requests in flight that are just right for one replica; default: three quarters of what its engine runs at once,
    at least 1."""
    idle: Seconds = 600.0
    """Without any request for so long, the last replica goes (where replicas.min is 0)."""
    cold_start: Seconds | None = None
    """From the decision to a replica that answers; default: the slowest of the last five starts, before there is one
    10 s for llamacpp, 180 s for vllm."""
    cost_cap: Annotated[float, Field(gt=0)] | None = None
    """Most that all replicas together may cost, in CNY per hour; never below replicas.min."""
    cost_per_hour: Annotated[float, Field(gt=0)] | None = None
    """What one replica costs, in CNY per hour."""
    interval: Annotated[Seconds, Field(ge=1, le=60)] = 5.0
    """Time between decisions; the first request that waits at zero is decided about at once."""


class Service(Spec):
    """A model kept answering requests."""

    kind: Literal["service"] = "service"
    name: Name
    model: str
    """A catalogue name (`roadbed models`) or a source: pypi: file: hf: modelscope: s3:"""
    aliases: list[str] = []
    """Other names clients may ask for."""
    engine: Engine = LlamaCppEngine()
    replicas: IntRange = IntRange(min=1, max=1)
    """`2`, or a range such as 1..4; inside a range `scaling` or `roadbed scale` chooses. 0 = none while idle."""
    scaling: Scaling | None = None
    resources: Resources = Resources()
    slo: Slo = Slo()
    quota: QuotaPath | None = None
    """Whose resources it uses, such as `research/nlp`; default: the root's."""
    priority: Priority = 5
    """1 to 9; 9 goes first, for a place on the machines and in the request queue."""
    routing: Routing = Routing()
    drain_timeout: Seconds = 30.0
    """Longest that a replica on its way out may finish what it runs. Then streams still open are cut, and what it has
    not begun to answer goes elsewhere."""

    @property
    def adapters(self) -> list[Adapter]:
        """Those of its engine, none where it can't have any."""
        return [] if isinstance(self.engine, OpenAIEngine) else self.engine.adapters

    @model_validator(mode="after")
    def _own_names(self) -> "Service":
        taken = {self.name, self.model, *self.aliases} & {adapter.name for adapter in self.adapters}
        if taken:
            raise ValueError(f"engine.adapters: {min(taken)!r} is a name of the service itself")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "Service":
        if isinstance(self.engine, OpenAIEngine) and self.replicas.max > len(self.engine.urls):
            raise ValueError(
                f"replicas: {self.replicas.max} asks for more replicas than the {len(self.engine.urls)} engine urls"
            )
        self._check_roles()
        if self.scaling is not None:
            self._check_scaling(self.scaling)
        return self

    def _check_roles(self) -> None:
        roles = self.engine.roles if isinstance(self.engine, VllmEngine) else None
        if roles is not None and not self.replicas.min == self.replicas.max == roles.prefill + roles.decode:
            num = roles.prefill + roles.decode
            raise ValueError(f"replicas: engine.roles are {num} replicas; write replicas: {num}")

    def _check_scaling(self, scaling: Scaling) -> None:
        """What scaling can't do, each problem at the key that has to change."""
        replicas, wrong = self.replicas, Complaints("Service")
        if replicas.min == replicas.max:
            wrong.add(["scaling"], f"nothing to choose: replicas is {replicas.min}; write a range such as 1..4")
        if replicas.min == 0 and scaling.policy in NEVER_ZERO:
            text = f"{scaling.policy} never goes to 0; write roadbed or kpa, or replicas: 1..{max(1, replicas.max)}"
            wrong.add(["scaling", "policy"], text, scaling.policy)
        if replicas.min == 0 and isinstance(self.engine, OpenAIEngine):
            wrong.add(["replicas"], "servers at engine.urls are not ours to stop: with scaling, begin the range at 1")
        cap, cost = scaling.cost_cap, scaling.cost_per_hour
        if cap is not None and cost is None:
            wrong.add(["scaling", "cost_cap"], "needs scaling.cost_per_hour, what one replica costs in CNY", cap)
        if cap is not None and cost is not None and cap < cost * max(1, replicas.min):
            text = f"{cap:g} per hour does not pay for {max(1, replicas.min)} at {cost:g}; raise it"
            wrong.add(["scaling", "cost_cap"], text, cap)
        wrong.raise_any()
