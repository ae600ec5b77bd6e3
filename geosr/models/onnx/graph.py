"""ONNX files as protobuf: whole, holding a net, and pointing to no other file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from geosr.errors import UsageError, WeightsError, cause

_LARGEST = 2**31  # bytes of a file; no more fits into one protobuf
_ENDLESS = ("Loop", "Scan", "SequenceMap")  # only running them tells when, or whether, they end


def library(name: str, path: Path, package: str | None = None) -> Any:
    """A module of the extra `onnx`.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"{path} needs {package or name}. Install it: pip install 'geosr[onnx]'"
        ) from error


def parsed(path: Path, data: bytes) -> Any:
    """The file as protobuf.

    Raises:
        UsageError: onnx is not installed.
        WeightsError: it is damaged, holds no net, points to other files, or has loops.
    """
    onnx = library("onnx", path)
    if len(data) >= _LARGEST:
        raise WeightsError(f"{path}: larger than 2 GiB, which no ONNX file is. Check the path.")
    try:
        proto = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's errors differ between its implementations
        raise WeightsError(f"{path}: not a whole ONNX file ({cause(error)}). Get it again."
                           ) from error  # fmt: skip
    if not proto.graph.node:
        raise WeightsError(f"{path}: holds no net (empty, or not ONNX). Get it again.")
    outside = next((t.name for t in _tensors(proto) if t.data_location or t.external_data), None)
    if outside is not None:
        raise WeightsError(
            f"{path}: tensor '{outside}' lies in another file, and other files are never opened. "
            "Save the net as one file: onnx.save(onnx.load(…), …, save_as_external_data=False)."
        )
    endless = next((node.op_type for node in _nodes(proto) if node.op_type in _ENDLESS), None)
    if endless is not None:
        raise WeightsError(
            f"{path}: has a {endless}, and how often it turns only running it tells. geosr runs "
            "no loops from files. Export the net with its loops unrolled."
        )
    return proto


def _nodes(proto: Any) -> Iterator[Any]:
    """All nodes of a file, those of its functions and of the graphs within nodes too."""
    training = [part for t in proto.training_info for part in (t.initialization, t.algorithm)]
    for part in (proto.graph, *training, *proto.functions):
        yield from _within(part.node)


def _within(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for item in node.attribute:
            for graph in (item.g, *item.graphs):
                yield from _within(graph.node)


def _tensors(proto: Any) -> Iterator[Any]:
    """All tensors of a file, those of its functions too."""
    yield from _of_graph(proto.graph)
    for training in proto.training_info:
        yield from _of_graph(training.initialization)
        yield from _of_graph(training.algorithm)
    for function in proto.functions:
        for node in function.node:
            yield from _of_attributes(node.attribute)
        yield from _of_attributes(function.attribute_proto)


def _of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from _of_sparse(graph.sparse_initializer)
    for node in graph.node:
        yield from _of_attributes(node.attribute)


def _of_attributes(attributes: Any) -> Iterator[Any]:
    for item in attributes:
        yield from (item.t, *item.tensors)
        yield from _of_sparse((item.sparse_tensor, *item.sparse_tensors))
        for graph in (item.g, *item.graphs):
            yield from _of_graph(graph)


def _of_sparse(tensors: Any) -> Iterator[Any]:
    for item in tensors:
        yield from (item.values, item.indices)


def numbers(proto: Any) -> int:
    """How many the graph's floating-point tensors hold."""
    floating = (1, 10, 11, 16)  # float, float16, double, bfloat16
    return sum(math.prod(t.dims) for t in proto.graph.initializer if t.data_type in floating)
