"""Files that can hold code, opened in a process of their own, which gives back plain tensors."""

from __future__ import annotations

import io
import json
import signal
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from geosr.errors import WeightsError, cause
from geosr.models.convert.nets import card_of, fitting, pattern
from geosr.models.convert.source import LARGEST, MOST, SourceWeights

_PATIENCE = 300.0  # seconds for the other process


def foreign(path: Path, data: bytes) -> SourceWeights:
    """What a file of PyTorch's own formats holds.

    Args:
        data: the file's content.

    Raises:
        WeightsError: it is damaged, refused, or this torch does not open such files safely.
    """
    if torch.__version__ < "2.10":
        raise WeightsError(
            f"{path}: torch {torch.__version__} does not open such files safely. Install 2.10 or "
            "newer."
        )
    try:
        head, body = _ask(data)
        told = json.loads(head)
        if told["error"]:
            raise WeightsError(
                f"{path}: PyTorch refused it ({told['error'][:200]}). Give a TorchScript program "
                "or a plain state dict: torch.save(net.state_dict(), …)."
            )
        numbered = load_tensors(body)
        tensors = {str(name): numbered[str(i)] for i, name in enumerate(told["names"])}
        return SourceWeights(str(told["kind"]), tensors, output=numbered.get("output"))
    except (OSError, EOFError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: the process that opened it failed ({cause(error) or type(error).__name__}). "
            "The file may be damaged; get it again."
        ) from error


def _ask(data: bytes) -> tuple[bytes, bytes]:
    """`_answer`, in another process."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    with ExitStack() as stack:
        stack.callback(process.join)
        stack.callback(process.kill)
        stack.enter_context(ours)
        ours.send_bytes(data)
        return _received(ours), _received(ours)


def _received(ours: connection.Connection) -> bytes:
    if not ours.poll(_PATIENCE):
        raise TimeoutError(f"no answer within {_PATIENCE:g} s")
    return ours.recv_bytes(LARGEST)


def _serve(theirs: connection.Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asking process ends this one
    for part in _answer(theirs.recv_bytes()):
        theirs.send_bytes(part)


def _answer(data: bytes) -> tuple[bytes, bytes]:
    """A file's tensors as JSON and safetensors by number, and what a program makes of `pattern`."""
    told = {"error": "", "kind": "PyTorch state dict", "names": list[str]()}
    numbered = {}
    try:
        if _is_program(data):
            load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
            program = load(io.BytesIO(data), map_location="cpu").float().eval()
            told["kind"], state = "TorchScript", program.state_dict()
            if net := fitting(state):
                numbered["output"] = _run(program, pattern(card_of(net))).float().contiguous()
        else:
            state = _state(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
        if any(value.numel() > MOST for value in state.values()):
            raise ValueError("a tensor is larger than any of these nets")
        told["names"] = list(state)
        numbered |= {str(i): v.detach().float().clone() for i, v in enumerate(state.values())}
    except Exception as error:  # a foreign file can fail in any way
        told["error"] = f"{type(error).__name__}: {cause(error)}"
    return json.dumps(told).encode(), save_tensors(numbered)


def _is_program(data: bytes) -> bool:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return False
    return any("/code/" in name for name in zipfile.ZipFile(io.BytesIO(data)).namelist())


def _state(loaded: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, which trainings often keep inside another."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise TypeError(f"it holds a {type(loaded).__name__}, no state dict")
    return {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}


def _run(program: torch.jit.ScriptModule, planes: list[Tensor]) -> Tensor:
    """Given one stack, a tensor for each GSD, a list or a tuple of those."""
    reason = ""
    for given in ((torch.cat(planes, 1),), tuple(planes), (planes,), (tuple(planes),)):
        try:
            with torch.inference_mode():
                output = program(*given)
        except RuntimeError as error:
            reason = cause(error)
            continue
        if isinstance(output, Tensor):
            return output
        reason = f"it gives a {type(output).__name__}"
    raise TypeError(f"it does not run on the net's inputs: {reason[-120:]}")
