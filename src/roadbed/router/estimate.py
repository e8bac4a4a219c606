"""What a replica costs, learned online from what its requests took.

Two small linear models per replica, fitted by recursive least squares with forgetting:

    TTFT  = overhead + prefill · tokens to prefill (mine and those ahead of me) + crowd · requests running
    TPOT  = step + step_crowd · requests running

Least squares rather than an average of ratios, because overhead and slope must be told apart: a pool serving short and
long prompts would otherwise price both wrongly. Residuals beyond three times their usual size count with reduced
weight (Huber), so one stalled request does not rewrite the model; coefficients never leave physical bounds; and the
covariance never grows beyond its prior, so a replica fed identical requests does not become infinitely nervous.
Learning costs ≈10 µs and is done at most every 20 ms per replica once warm, whatever the request rate.
"""

from collections.abc import Sequence

_FORGET = 0.98
_HUBER = 3.0
_WARM_SAMPLES = 32
_LEARN_EVERY_S = 0.02


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
        for i in indexes:
            moved = self.weights[i] + gain_raw[i] / denominator * error
            self.weights[i] = min(max(moved, self._low[i]), self._high[i])
            for j in indexes:
                covariance[i][j] -= gain_raw[i] * gain_raw[j] / denominator
        self._forget()

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

    @property
    def num_samples(self) -> int:
        """First tokens it has learned from."""
        return self._ttft.num_samples

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
        """A first token came `ttft_s` after dispatch, with `tokens` to prefill then (queued ones included)."""
        self._ttft.update((1.0, tokens * 1e-3, num_running), ttft_s)
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
