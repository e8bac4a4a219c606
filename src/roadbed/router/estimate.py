"""What a replica costs, learned online from what its requests took.

Two small linear models per replica, fitted by recursive least squares with forgetting:

    TTFT  = overhead + prefill · tokens to prefill (mine and those ahead of me) + crowd · requests running
    TPOT  = step + step_crowd · requests running, without the time in which prompts were computed

A prompt that queued teaches by the time since the first token before its own, with its own tokens alone: what was ahead
of it needs no guess then, and a wrong guess about a long queue can't be mistaken for a slow engine. Errors are relative
(long prompts vary more), so each observation counts by its predicted size.
Least squares rather than an average of ratios, because overhead and slope must be told apart: a pool serving short and
long prompts would otherwise price both wrongly. Residuals beyond three times their usual size count with reduced
weight (Huber), so one stalled request does not rewrite the model; coefficients never leave physical bounds; and the
covariance never grows beyond its prior, so a replica fed identical requests does not become infinitely nervous.
Learning costs ≈10 µs and is done at most every 20 ms per replica once warm, whatever the request rate.
"""

import math
from collections.abc import Sequence

_FORGET = 0.98
_HUBER = 3.0
_CAUTIOUS = 0.3
"""Share of an error that is made good where least squares can't be followed."""
_WARM_SAMPLES = 32
_LEARN_EVERY_S = 0.02
_DIFFERENT, _ALIKE = 1.4, 1.25
"""A replica goes by its own costs once it is this much slower or faster than its service's; back again within the
other."""
_SLOWEST_LOG = math.log(20.0)
_INSTANT_S = 0.01
"""Added to both sides: differences between instants mean nothing."""
_FEWEST = 8
"""Observations before that is believed."""
_COMPARED = 0.95
"""What a comparison keeps of the past at each observation."""
_RELATIVE = 5.0
"""Per second: a prediction of 0.2 s may be off by twice the noise of an instant one, 1 s by six times."""


class Regression:
    """y ≈ w·x with bounded weights, robust to outliers. Dimension is that of `prior`; cheap for 2–4."""

    __slots__ = ("_covariance", "_high", "_low", "_prior_variance", "_scale", "num_samples", "weights")

    def __init__(
        self, prior: Sequence[float], spread: Sequence[float], low: Sequence[float], high: Sequence[float], noise: float
    ) -> None:
        """`spread` is how far each weight may be from its prior (σ), `noise` the usual residual; same units as y."""
        self.weights = list(prior)
        self._prior_variance = [(sigma / noise) ** 2 for sigma in spread]
        self._covariance = [
            [variance if row == column else 0.0 for column in range(len(prior))]
            for row, variance in enumerate(self._prior_variance)
        ]
        self._low, self._high = list(low), list(high)
        self._scale = 0.0
        self.num_samples = 0

    def predict(self, x: Sequence[float]) -> float:
        return sum(weight * value for weight, value in zip(self.weights, x, strict=True))

    def update(self, x: Sequence[float], y: float) -> None:
        """One observation. O(dimension²)."""
        error = y - self.predict(x)
        size = abs(error)
        if self.num_samples == 0:
            self._scale = max(size, 1e-6)
        limit = _HUBER * self._scale
        trust = 1.0 if size <= limit else limit / size
        self._scale = max(1e-6, self._scale + 0.1 * (min(size, limit) - self._scale))
        self.num_samples += 1

        covariance, indexes = self._covariance, range(len(x))
        gain_raw = [sum(row[j] * x[j] for j in indexes) for row in covariance]
        denominator = _FORGET / trust + sum(x[i] * gain_raw[i] for i in indexes)
        moved = [weight + gain_raw[i] / denominator * error for i, weight in enumerate(self.weights)]
        self._move(moved, x, y, error * trust)
        for i in indexes:
            for j in indexes:
                covariance[i][j] -= gain_raw[i] * gain_raw[j] / denominator
        self._forget()

    def _move(self, moved: Sequence[float], x: Sequence[float], y: float, error: float) -> None:
        """Takes the new weights within their bounds. Where a bound cuts one of two that should have moved against each
        other, the prediction would go the wrong way: then all go the right way instead, each by its prior variance."""
        before, variance = self.weights, self._prior_variance
        self.weights = [min(max(m, low), high) for m, low, high in zip(moved, self._low, self._high, strict=True)]
        if abs(y - self.predict(x)) <= abs(y - sum(w * v for w, v in zip(before, x, strict=True))):
            return
        size = sum(v * value * value for v, value in zip(variance, x, strict=True))
        if size <= 0.0:
            self.weights = before
            return
        step = _CAUTIOUS * error / size
        self.weights = [
            min(max(weight + step * variance[i] * x[i], self._low[i]), self._high[i]) for i, weight in enumerate(before)
        ]

    def _forget(self) -> None:
        """Widens the covariance by 1/λ, but no variance beyond its prior (no wind-up without excitation)."""
        covariance, indexes = self._covariance, range(len(self.weights))
        grow = [_FORGET**-0.5 if covariance[i][i] < _FORGET * self._prior_variance[i] else 1.0 for i in indexes]
        for i in indexes:
            for j in indexes:
                covariance[i][j] *= grow[i] * grow[j]


class ReplicaModel:
    """The learned coefficients of one replica, as plain attributes for the hot path. Seconds."""

    __slots__ = ("_decode", "_next_learn_at", "_ttft", "crowd_s", "overhead_s", "pending_trust", "prefill_s",
                 "step_crowd_s", "step_s", "trust")  # fmt: skip

    def __init__(self) -> None:
        # x = (1, kilotokens, running); priors are a mid-size GPU's, wide enough to be overruled by a few requests
        self._ttft = Regression((0.01, 0.2, 0.002), (0.1, 1.0, 0.02), (0.0, 1e-4, 0.0), (60.0, 1e3, 10.0), 0.02)
        self._decode = Regression((0.02, 0.001), (0.02, 0.004), (1e-5, 0.0), (10.0, 1.0), 0.004)
        self._next_learn_at = 0.0
        self.overhead_s = self.prefill_s = self.crowd_s = self.step_s = self.step_crowd_s = 0.0
        self.trust = 1.0
        """Share of the predicted cached tokens that engines of this replica really had."""
        self.pending_trust = 1.0
        """The same of blocks that another request was still computing: engines with a paged cache share those, engines
        with a cache per slot compute them again."""
        self._publish()

    def start_from(self, other: "ReplicaModel") -> None:
        """Takes over another's coefficients as a first guess; certainty is not inherited."""
        self._ttft.weights = list(other._ttft.weights)
        self._decode.weights = list(other._decode.weights)
        self.pending_trust = other.pending_trust
        self._publish()

    def follow(self, other: "ReplicaModel", ttft_factor: float, step_factor: float) -> None:
        """Costs what another costs, times how much slower it is."""
        self.overhead_s, self.prefill_s = other.overhead_s * ttft_factor, other.prefill_s * ttft_factor
        self.crowd_s = other.crowd_s * ttft_factor
        self.step_s, self.step_crowd_s = other.step_s * step_factor, other.step_crowd_s * step_factor

    @property
    def num_samples(self) -> int:
        """First tokens it has learned from."""
        return self._ttft.num_samples

    @property
    def is_warm(self) -> bool:
        """Whether it has learned enough to be relied on."""
        return self._ttft.num_samples >= _WARM_SAMPLES

    def step_time_s(self, num_running: float) -> float:
        """Predicted seconds per output token with so many requests running."""
        return self.step_s + self.step_crowd_s * num_running

    def ttft_s(self, tokens: float, num_running: float) -> float:
        """Predicted seconds to the first token once `tokens` (queued ones included) are to be prefilled."""
        return self.overhead_s + self.prefill_s * tokens + self.crowd_s * num_running

    def due(self, now: float) -> bool:
        """Whether another observation is worth its microseconds."""
        if self._ttft.num_samples >= _WARM_SAMPLES and now < self._next_learn_at:
            return False
        self._next_learn_at = now + _LEARN_EVERY_S
        return True

    def observe_ttft(self, ttft_s: float, tokens: float, num_running: float) -> None:
        """`tokens` took `ttft_s` to their first token: from dispatch with the queued ones included, or on their own
        since the first token before."""
        x = (1.0, tokens * 1e-3, num_running)
        scale = 1.0 / (1.0 + self._ttft.predict(x) * _RELATIVE)
        self._ttft.update((scale, x[1] * scale, x[2] * scale), ttft_s * scale)
        self._publish()

    def observe_decode(self, tpot_s: float, num_running: float) -> None:
        """A stream's mean time per output token, with so many requests running meanwhile."""
        self._decode.update((1.0, num_running), tpot_s)
        self._publish()

    def observe_cache(self, predicted_tokens: float, cached_tokens: float) -> None:
        """The engine had `cached_tokens` where we had predicted `predicted_tokens`."""
        if predicted_tokens > 0:
            self.trust += 0.1 * (min(1.0, cached_tokens / predicted_tokens) - self.trust)

    def observe_pending(self, shared: bool) -> None:
        """Whether blocks still being computed elsewhere in the engine were shared. An engine does or does not, so a few
        answers settle it."""
        self.pending_trust += 0.5 * (float(shared) - self.pending_trust)

    @property
    def shares_pending(self) -> bool:
        """Whether a prefix still being computed is as good as cached; believed until the engine shows otherwise."""
        return self.pending_trust > 0.5

    def _publish(self) -> None:
        self.overhead_s, per_kilotoken, self.crowd_s = self._ttft.weights
        self.prefill_s = per_kilotoken * 1e-3
        self.step_s, self.step_crowd_s = self._decode.weights


class Comparison:
    """How much slower than its kind a replica is, as one factor: the decayed geometric mean of seen over told.

    Of logarithms, so that one stall or one prompt the model has wrong counts once, not by its seconds; a factor near 1
    counts as 1, so that identical replicas share one set of coefficients, learned from all of them, and no noise makes
    one of them look better than the others.
    """

    __slots__ = ("_log", "_num", "_weight", "at", "factor")

    def __init__(self) -> None:
        self._log = self._weight = 0.0
        self._num = 0
        self.at = 0.0
        """Of the last observation."""
        self.factor = 1.0

    def observe(self, seen_s: float, told_s: float, now: float) -> None:
        """Something took `seen_s` where the model says `told_s`."""
        self.at = now
        self._num += 1
        log = math.log((seen_s + _INSTANT_S) / (told_s + _INSTANT_S))
        self._log = _COMPARED * self._log + min(max(log, -_SLOWEST_LOG), _SLOWEST_LOG)
        self._weight = _COMPARED * self._weight + 1.0
        ratio = math.exp(self._log / self._weight)
        limit = _DIFFERENT if self.factor == 1.0 else _ALIKE
        is_alike = self._num < _FEWEST or 1.0 / limit < ratio < limit
        self.factor = 1.0 if is_alike else ratio

    def forget(self) -> None:
        """Nothing was seen for long: what was known may be wrong, and nobody would find out."""
        self._log = self._weight = 0.0
        self._num = 0
        self.factor = 1.0


class ServiceModel:
    """What the requests of one service look like: output length, tokens per byte, time in an engine."""

    __slots__ = ("_bytes", "_num_outputs", "_tokens", "mean_output_tokens", "mean_service_s", "typical")

    def __init__(self) -> None:
        self.typical = ReplicaModel()
        """What a replica of this service costs, learned from all of them: the guess for one that is still unknown."""
        self.mean_output_tokens = 128.0
        self.mean_service_s = 2.0
        """From dispatch to the last byte."""
        self._tokens, self._bytes = 250.0, 1000.0
        self._num_outputs = 0

    @property
    def tokens_per_byte(self) -> float:
        return self._tokens / self._bytes

    def observe_prompt(self, prompt_tokens: int, prompt_bytes: int) -> None:
        """Decayed sums rather than a mean of ratios: long prompts, where it matters, weigh more."""
        if prompt_tokens > 0 and prompt_bytes > 0:
            keep = max(0.0, 1.0 - prompt_bytes / 200_000)
            self._tokens = self._tokens * keep + min(prompt_tokens, 4 * prompt_bytes)
            self._bytes = self._bytes * keep + prompt_bytes

    def observe_output(self, completion_tokens: int, service_s: float) -> None:
        """A request that ended well. The first twenty are averaged plainly, then the mean forgets slowly."""
        self._num_outputs += 1
        pace = max(0.05, 1.0 / (1 + self._num_outputs))
        self.mean_output_tokens += pace * (completion_tokens - self.mean_output_tokens)
        self.mean_service_s += pace * (service_s - self.mean_service_s)
