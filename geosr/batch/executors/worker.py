"""A job as a worker gets it, and how a worker does one scene of it."""

from __future__ import annotations

import logging
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path

import torch

from geosr.batch.batch import attempt
from geosr.batch.job import Job, Outcome, Pair, Progress
from geosr.batch.targets import output_name
from geosr.errors import GeosrError, SceneError, UsageError
from geosr.inference.heap import keep_freed
from geosr.inference.predict import engine, place
from geosr.models import registry, weights
from geosr.models.card import Model, ModelCard

log = logging.getLogger("geosr")

TRIES = 2  # of a scene whose worker is killed


@dataclass(frozen=True)
class Order:
    """A job as a worker gets it.

    Attributes:
        job: without nets.
        cards: of the nets.
        device: as asked for; of "auto" and "cuda" worker k takes GPU k modulo their number.
        threads: of each worker; None leaves torch's own choice.
        level: of the log.
        key: tells one run from another.
    """

    job: Job
    cards: tuple[ModelCard, ...]
    device: str
    threads: int | None
    level: int
    key: str

    @classmethod
    def of(cls, job: Job, device: str, threads: int | None) -> Order:
        """The order for a job.

        Raises:
            UsageError: a net has no file from which workers could load it.
        """
        for model in job.models:
            if model.parameters and not model.card.file and not model.card.learns:
                raise UsageError(
                    f"'{model.card.name}' has no weights file for workers to load. "
                    "Save it, or run the scenes serially."
                )
        cards = tuple(_findable(model.card) for model in job.models)
        level = log.getEffectiveLevel()
        return cls(replace(job, models=()), cards, device, threads, level, uuid.uuid4().hex)

    def load(self, index: int) -> Job:
        """The job with its nets on worker `index`'s device.

        Raises:
            WeightsError: a file is not there, or is another one than the card says.
            UsageError: the device is not there.
        """
        if self.threads:
            torch.set_num_threads(self.threads)
        log.setLevel(self.level)
        keep_freed()
        where = engine(
            _device(self.device, index), self.job.precision, self.job.engine.batch_size,
            compiled=self.job.engine.compiled,
        )  # fmt: skip
        nets = tuple(place(_net(card), where) for card in self.cards)
        return replace(self.job, models=nets, engine=where)


def _findable(card: ModelCard) -> ModelCard:
    return replace(card, file=str(Path(card.file).absolute())) if card.file else card


def _net(card: ModelCard) -> Model:
    """A card's net from this machine's files; bundled ones may lie elsewhere than the run's."""
    if not card.file:
        return Model(card, registry.build(card).net.eval())
    path = Path(card.file)
    path = path if path.exists() else weights.folder() / path.name
    return weights.load_file(path, sha256=card.sha256).at(card.factor)


def _device(asked: str, index: int) -> str:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{index % count}" if count and asked in ("auto", "cuda") else asked


_jobs: dict[str, Job] = {}
_loading = threading.Lock()


def _job(order: Order, index: int) -> Job:
    """The order's job, loaded once in this process; another run's makes room for it."""
    with _loading:
        if order.key not in _jobs:
            _jobs.clear()
            _jobs[order.key] = order.load(index)
        return _jobs[order.key]


def do(pair: Pair, order: Order, index: int, progress: Progress = lambda *_: None) -> Outcome:
    """One scene on worker `index`; an order that cannot be loaded fails it."""
    try:
        job = _job(order, index)
    except GeosrError as error:
        return failed(pair, str(error), error.exit_code)
    return attempt(*pair, job, progress)


def failed(pair: Pair, message: str, code: int = SceneError.exit_code) -> Outcome:
    """The outcome of a scene that failed, named as its output is."""
    return Outcome(output_name(pair[0]), "failed", code, message, str(pair[1]))


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What is started herein never sees Ctrl-C or a hang-up: the run ends it by itself."""
    ours = {signal.SIGINT, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    try:
        resource_tracker.ensure_running()  # it ends the blocking of SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, ours)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
