"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily

from rnnapp.serving.errors import ServingError
from rnnapp.serving.server.versions import Model

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rnnapp_serving_requests",
            "Requests that ended",
            ["api", "method", "code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "rnnapp_serving_request_seconds",
            "Time from a request's arrival to its answer",
            ["api", "method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._rows = Histogram(
            "rnnapp_serving_batch_rows",
            "Rows in each call of the model",
            ["version", "signature"],
            buckets=_ROWS,
            registry=self.registry,
        )

        self._model_seconds = Histogram(
            "rnnapp_serving_model_seconds",
            "Time of each call of the model",
            ["version", "signature"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def model_seconds(self, version: int, signature: str) -> Histogram:
        """What times a signature's calls."""
        return self._model_seconds.labels(str(version), signature)

    def rows(self, version: int, signature: str) -> Callable[[int], None]:
        """What counts the rows of a signature's calls."""
        return self._rows.labels(str(version), signature).observe

    @contextmanager
    def request(self, api: str, method: str) -> Iterator[None]:
        """Counts a request by how it ends, and how long it takes.

        Args:
            api: "grpc" or "rest".
            method: What was asked for.
        """
        begun, code = perf_counter(), "INTERNAL"
        try:
            yield
            code = "OK"
        except ServingError as error:
            code = error.code.name
            raise
        except BaseException as error:
            code = "INTERNAL" if isinstance(error, Exception) else "CANCELLED"
            raise
        finally:
            self._requests.labels(api, method, code).inc()
            self._seconds.labels(api, method).observe(perf_counter() - begun)

    def watch(self, model: Model) -> None:
        """Tells of a model's versions, too: whether they answer, and what waits for them."""
        self.registry.register(_Versions(model))


class _Versions:
    """Read when Prometheus asks, so that it is never old."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The state of each version, and the rows that wait."""
        states = GaugeMetricFamily(
            "rnnapp_serving_version_state",
            "30 of a version that answers; others as in ModelVersionStatus",
            labels=["version"],
        )
        queued = GaugeMetricFamily(
            "rnnapp_serving_queued_rows", "Rows that wait", labels=["version", "signature"]
        )
        for number, version in sorted(self._model.versions.items()):
            states.add_metric([str(number)], version.state)
            for name, batcher in version.batchers.items():
                queued.add_metric([str(number), name], batcher.queued)
        yield states
        yield queued
