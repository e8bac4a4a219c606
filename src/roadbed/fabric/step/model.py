"""Transformers by name and by their shape: parameters, and floating-point operations of a pass.

Counts are those of the matrix multiplications, 2 operations per multiply-add (Narayanan et al. 2021, appendix).
Norms, biases and activations are left out: below 1 % of either.
"""

import difflib

import msgspec

from roadbed.errors import NotFoundError, UsageError


class Transformer(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder. Counts of the whole model."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    """Width of a feed-forward block (of one expert)."""
    vocab: int
    seq: int
    """Tokens of a training sample."""
    gated: bool = True
    """Three matrices in a feed-forward block (SwiGLU) instead of two."""
    experts: int = 1
    top_k: int = 1
    tied: bool = False
    """Input and output embeddings are one matrix."""
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "seq", "experts", "top_k"):
            if getattr(self, name) < 1:
                raise UsageError(f"{self.name}: {name} must be at least 1", field=name)
        if self.hidden % self.heads or self.heads % self.kv_heads:
            raise UsageError(f"{self.name}: hidden must divide by heads and heads by kv_heads", field="heads")
        if self.top_k > self.experts:
            raise UsageError(f"{self.name}: top_k {self.top_k} of {self.experts} experts", field="top_k")

    @property
    def attention_params(self) -> int:
        """Of one layer: query, key, value, output."""
        return 2 * self.hidden * self.hidden + 2 * self.hidden * self.hidden * self.kv_heads // self.heads

    @property
    def ffn_params(self) -> int:
        """Of one feed-forward block (one expert)."""
        return (3 if self.gated else 2) * self.hidden * self.ffn

    @property
    def embedding_params(self) -> int:
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def params(self) -> int:
        """All, experts included."""
        router = self.hidden * self.experts if self.experts > 1 else 0
        return self.layers * (self.attention_params + self.experts * self.ffn_params + router) + self.embedding_params

    @property
    def active_params(self) -> int:
        """Those one token meets."""
        return self.layers * (self.attention_params + self.top_k * self.ffn_params) + self.embedding_params

    def layer_flops(self, tokens: int) -> float:
        """Forward pass of one layer over tokens, each looking back over half of seq on average (causal)."""
        matrices = 2.0 * tokens * (self.attention_params + self.top_k * self.ffn_params)
        return matrices + 2.0 * tokens * self.seq * self.hidden

    def head_flops(self, tokens: int) -> float:
        """Forward pass of the output projection."""
        return 2.0 * tokens * self.vocab * self.hidden

    def step_flops(self, samples: int) -> float:
        """Forward and backward of samples: three forward passes; recomputation is not counted (MFU's rule)."""
        tokens = samples * self.seq
        return 3.0 * (self.layers * self.layer_flops(tokens) + self.head_flops(tokens))


def _llama(name: str, layers: int, hidden: int, heads: int, ffn: int, seq: int, kv_heads: int = 0) -> Transformer:
    return Transformer(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads or heads,
        ffn=ffn,
        vocab=32_000,
        seq=seq,
        source="Touvron et al. 2023, table 2",
    )


def _gpt(name: str, layers: int, hidden: int, heads: int) -> Transformer:
    return Transformer(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        ffn=4 * hidden,
        vocab=51_200,
        seq=2048,
        gated=False,
        tied=True,
        source="Brown et al. 2020, table 2.1; vocabulary padded as in Megatron",
    )


def _qwen(
    name: str,
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    ffn: int,
    *,
    vocab: int = 152_064,
    tied: bool = False,
) -> Transformer:
    return Transformer(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        ffn=ffn,
        vocab=vocab,
        seq=4096,
        tied=tied,
        source="Qwen2.5 model cards (config.json)",
    )


MODELS: dict[str, Transformer] = {
    model.name: model
    for model in (
        _gpt("gpt3-13b", 40, 5120, 40),
        _gpt("gpt3-22b", 48, 6144, 64),
        _gpt("gpt3-175b", 96, 12288, 96),
        _llama("llama-7b", 32, 4096, 32, 11008, 2048),
        _llama("llama-13b", 40, 5120, 40, 13824, 2048),
        _llama("llama-65b", 80, 8192, 64, 22016, 2048),
        _llama("llama2-70b", 80, 8192, 64, 28672, 4096, kv_heads=8),
        Transformer(
            name="llama3-405b", layers=126, hidden=16384, heads=128, kv_heads=8, ffn=53248, vocab=128_256, seq=8192,
            source="Llama 3 report, table 3",
        ),
        Transformer(
            name="mixtral-8x7b", layers=32, hidden=4096, heads=32, kv_heads=8, ffn=14336, vocab=32_000, seq=4096,
            experts=8, top_k=2, source="Jiang et al. 2024, table 1",
        ),
        _qwen("qwen2.5-0.5b", 24, 896, 14, 2, 4864, vocab=151_936, tied=True),
        _qwen("qwen2.5-1.5b", 28, 1536, 12, 2, 8960, vocab=151_936, tied=True),
        _qwen("qwen2.5-7b", 28, 3584, 28, 4, 18944),
        _qwen("qwen2.5-14b", 48, 5120, 40, 8, 13824),
        _qwen("qwen2.5-32b", 64, 5120, 40, 8, 27648),
        _qwen("qwen2.5-72b", 80, 8192, 64, 8, 29568),
    )
}  # fmt: skip


def find_model(name: str) -> Transformer:
    """The model of a name; NotFoundError with the nearest."""
    found = MODELS.get(name.casefold())
    if found is None:
        close = difflib.get_close_matches(name.casefold(), MODELS, n=1)
        known = f"did you mean {close[0]}?" if close else f"there are {', '.join(MODELS)}"
        raise NotFoundError(f"there is no model {name!r}; {known}", field="model")
    return found
