"""ONNX both ways: nets exported and run again give the same; files of others run with a card."""

import copy
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from geosr.batch.executors.worker import Order
from geosr.batch.job import Job
from geosr.bench.bench import flops
from geosr.bench.reference import plain_copy
from geosr.errors import UsageError, WeightsError
from geosr.models import registry, weights
from geosr.models.card import SHIFTS, Input, Model
from geosr.models.onnx import net as onnx_net
from geosr.models.onnx.export import export

onnx = pytest.importorskip("onnx", reason="onnx is not installed (geosr[onnx])")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (geosr[onnx])")
pytest.importorskip("yaml", reason="PyYAML is not installed (geosr[onnx])")
from onnx import TensorProto, helper  # noqa: E402

exporting = pytest.mark.skipif(
    find_spec("onnxscript") is None, reason="onnxscript is not installed (geosr[onnx])"
)
LARGE = pytest.mark.slow  # a graph of thousands of nodes
FREE = ("batch", None, "rows", "cols")


def thin(name: str, **options: object) -> Model:
    """A small net of that design with random weights; its file is not one."""
    card = registry.design(name).card()
    torch.manual_seed(1)
    model = registry.build(replace(card, options={**card.options, **options}))
    model.net.eval()
    return model


def narrow(name: str, bands: dict[int, tuple[str, ...]], **options: object) -> Model:
    """A small net of that design for some of its bands by GSD, which makes a small graph."""
    card = registry.design(name).card()
    inputs = tuple(Input(gsd, names) for gsd, names in bands.items())
    output = replace(card.output, bands=inputs[-1].bands)
    torch.manual_seed(1)
    options = {**card.options, **options}
    return registry.build(replace(card, inputs=inputs, output=output, options=options))


def random_inputs(model: Model, batch: int, rows: int, cols: int) -> dict[int, torch.Tensor]:
    """Counts for so many of the coarsest pixels; every mask and shift there is."""
    chance, inputs = torch.Generator().manual_seed(rows), {}
    coarsest = model.card.inputs[-1].gsd
    for item in model.card.inputs:
        k, bands = coarsest // item.gsd, len(item.bands)
        several = (item.frames, bands + 1) if model.card.task == "misr" else (bands,)
        shape = (batch, *several, k * rows, k * cols)
        inputs[item.gsd] = 8000 * torch.rand(shape, generator=chance)
        if model.card.task == "misr":
            inputs[item.gsd][:, :, -1] = (inputs[item.gsd][:, :, -1] > 2000).float()
    if model.card.shifts:
        inputs[SHIFTS] = torch.rand((batch, model.card.frames, 2), generator=chance) - 0.5
    return inputs


def apart(model: Model, path: Path, *shape: int) -> float:
    """The largest difference between a net and its file, in counts."""
    inputs = random_inputs(model, *shape)
    with torch.inference_mode():
        expected, made = model(inputs), weights.load_file(path)(inputs)
    assert made.shape == expected.shape
    return float((made - expected).abs().max())


def same_as_its_file(model: Model, within: float, path: Path) -> None:
    """Export a net and hold it against its file at two sizes, in counts."""
    done = export(model, path)
    assert apart(model, path, 1, 5, 11) < within
    assert apart(model, path, 2, 8, 3) < within
    found = [item.name for item in onnx.load(path).graph.input]
    assert tuple(found) == done.inputs
    assert ("clear" in found) == (model.card.task == "misr")  # a mask is never lost


@pytest.fixture(scope="session")
def dsen2(tmp_path_factory) -> Path:
    """The bundled 20 m net as ONNX."""
    path = tmp_path_factory.mktemp("nets") / "dsen2-20.onnx"
    export(weights.load("dsen2-20")[0], path)
    return path


def upsampler(
    path: Path, card: str | None = "{bands: 4, factor: 2, margin: 0}", *, shape=FREE, bands=4,
    kind=TensorProto.FLOAT, extra_inputs=0, added=0.01, external=False,
) -> Path:  # fmt: skip
    """Somebody's file: each pixel twice as many times, plus a constant."""
    shape = [bands if size is None else size for size in shape]
    given = helper.make_tensor_value_info("pixels", kind, shape)
    more = [helper.make_tensor_value_info(f"more{i}", kind, shape) for i in range(extra_inputs)]
    made = helper.make_tensor_value_info("finer", kind, [None] * 4)
    constant = helper.make_tensor("added", kind, [1], [added])
    if external:
        constant.ClearField("float_data")
        constant.data_location = TensorProto.EXTERNAL
        constant.external_data.add(key="location", value="../secret.bin")
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0])
    nodes = [
        helper.make_node("Resize", ["pixels", "", "scales"], ["twice"], mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        helper.make_node("Add", ["twice", "added"], ["finer"]),
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "net", [given, *more], [made], [constant, scales])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(proto.SerializeToString())
    if card is not None:
        path.with_suffix(".yaml").write_text(card)
    return path


def image(path: Path, bands: int = 4, names: tuple[str, ...] = ()) -> np.ndarray:
    values = np.random.default_rng(0).integers(500, 9000, (bands, 37, 41)).astype(np.uint16)
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", width=41, height=37, count=bands,
                       dtype="uint16", crs="EPSG:32633",
                       transform=Affine(10, 0, 5e5, 0, -10, 5e6)) as file:  # fmt: skip
        file.write(values)
        if names:
            file.descriptions = names
    return values


# geosr's nets as ONNX


@exporting
def test_the_bundled_net_gives_the_same_at_other_sizes_and_in_batches(dsen2):
    model = weights.load("dsen2-20")[0]
    assert apart(model, dsen2, 1, 9, 13) < 0.1
    assert apart(model, dsen2, 2, 24, 6) < 0.1


@exporting
@pytest.mark.parametrize(
    ("name", "options", "within"),
    [
        ("fsrcnn", {"features": 8, "narrow": 4, "depth": 1}, 0.1),
        ("espcn", {"features": 8, "narrow": 4}, 0.1),  # pixel shuffle
        # bands that see the finer ones differently; and so many regressions that on noise they
        # make 1 count of float32's rounding
        pytest.param("dsen2-ps-20", {"features": 8, "blocks": 1, "radii": [2]}, 0.1, marks=LARGE),
        pytest.param("dsen2-ps-60", {"features": 8, "blocks": 1}, 1.0, marks=LARGE),
        ("dual-edsr", {"features": 8, "blocks": 1}, 0.1),
        ("3dwdsr", {"features": 4, "blocks": 1}, 0.1),  # unclear pixels are mended
        ("srresnet-series", {"features": 8, "blocks": 1}, 0.1),
    ],
)
def test_a_net_gives_the_same_as_its_file(name, options, within, tmp_path):
    same_as_its_file(thin(name, **options), within, tmp_path / "x.onnx")


@exporting
def test_local_regressions_export_as_one_stack(tmp_path):
    net = narrow("dsen2-ps-20", {10: ("B2", "B8"), 20: ("B5",)}, features=8, blocks=1, radii=[1],
                 spreads=[[0.87, 0.87]])  # fmt: skip
    same_as_its_file(net, 0.1, tmp_path / "x.onnx")


@exporting
def test_a_fusion_of_frames_takes_fewer_of_them_too(tmp_path):
    model = thin("shift-and-add")
    assert export(model, tmp_path / "x.onnx").inputs == ("frames", "clear", "shifts")
    fewer = {key: x[:, :3] for key, x in random_inputs(model, 1, 6, 7).items()}
    with torch.inference_mode():
        made = weights.load_file(tmp_path / "x.onnx")(fewer)
        torch.testing.assert_close(made, model(fewer), atol=0.1, rtol=0)


@exporting
def test_the_file_says_what_the_net_is_and_nothing_of_this_machine(dsen2):
    proto = onnx.load(dsen2)
    said = {item.key: item.value for item in proto.metadata_props}
    card = json.loads(said["geosr.card"])
    assert card["file"] == card["sha256"] == "" and "dsen2-20.safetensors" in card["source"]
    assert said["bands"] == "10: B2 B3 B4 B8; 20: B5 B6 B7 B8A B11 B12 -> 10: " + (
        "B5 B6 B7 B8A B11 B12"
    )
    assert said["scale"] == "2" and said["margin"] == "16 output pixels"
    assert said["license"] == "Apache-2.0" and "10000" in said["normalisation"]
    assert [item.name for item in proto.graph.input] == ["gsd10", "gsd20"]
    assert str(Path(registry.__file__).parent).encode() not in dsen2.read_bytes()


@exporting
def test_a_loaded_file_counts_as_the_net_it_holds(dsen2):
    ours, theirs = weights.load("dsen2-20")[0], weights.load(str(dsen2))[0]
    assert theirs.parameters == ours.parameters
    assert theirs.card.sha256 == weights.digest(dsen2) and theirs.card.file == str(dsen2)
    shapes = ((10, (4, 24, 24)), (20, (6, 12, 12)))
    assert flops(theirs, shapes) == flops(ours, shapes) > 0
    inputs = random_inputs(ours, 1, 4, 4)
    with torch.inference_mode():
        assert torch.equal(plain_copy(theirs, "cpu")(inputs), theirs(inputs))


@exporting
def test_low_precision_leaves_it_alone_and_threads_follow_torch(dsen2):
    model = weights.load(str(dsen2))[0]
    inputs = random_inputs(model, 1, 6, 6)
    before = torch.get_num_threads()
    try:
        with torch.inference_mode():
            torch.set_num_threads(2)
            expected = model(inputs)
            session = model.net.session(torch.device("cpu"))
            assert session.get_session_options().intra_op_num_threads == 2
            torch.set_num_threads(1)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                made = model(inputs)
            session = model.net.session(torch.device("cpu"))
            assert session.get_session_options().intra_op_num_threads == 1
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(made, expected, atol=0.05, rtol=0)


@exporting
def test_workers_load_it_by_its_file_and_refuse_another(dsen2, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(dsen2.read_bytes())
    order = Order.of(Job(weights.load(str(path))), "cpu", None)
    (net,) = order.load(0).models
    assert net.card.name == "dsen2-20"
    path.write_bytes(upsampler(tmp_path / "other.onnx").read_bytes())
    path.with_suffix(".yaml").write_text("{bands: 4, factor: 2, margin: 0}")
    with pytest.raises(WeightsError, match="sha256"):
        order.load(0)


@exporting
def test_superres_makes_the_same_scene_of_it(geosr, dsen2, scene_dir, tmp_path):
    for name, model in (("torch.tif", "dsen2-20"), ("onnx.tif", dsen2)):
        done = geosr("superres", scene_dir, name, "--model", model, "--precision", "fp32",
                     "--tile-size", 60)  # fmt: skip
        assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "torch.tif") as one, rasterio.open(tmp_path / "onnx.tif") as two:
        assert one.descriptions == two.descriptions and one.transform == two.transform
        assert np.abs(one.read().astype(int) - two.read()).max() <= 1
        assert two.tags()["GEOSR_WEIGHTS_SHA256"] == weights.digest(dsen2)


@exporting
def test_eval_scores_it_as_the_net(geosr, dsen2, scene_dir):
    done = geosr("eval", "--model", "dsen2-20", "--model", dsen2, "--data", scene_dir, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = {row["model"]: row["whole"]["rmse"] for row in told["scores"] if row["group"] == "20"}
    assert rows[str(dsen2)] == pytest.approx(rows["dsen2-20"], rel=0.02)


@exporting
def test_export_on_the_command_line(geosr, tmp_path):
    done = geosr("export", "bicubic", "--scale", 3, "-o", "x.onnx")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1 and "image" in done.stderr
    assert weights.load_file(tmp_path / "x.onnx").parameters == 0  # 8 bits are welcome
    before = (tmp_path / "x.onnx").read_bytes()
    done = geosr("export", "bicubic-20", "-o", "x.onnx")
    assert done.returncode == 2 and "--overwrite" in done.stderr
    assert (tmp_path / "x.onnx").read_bytes() == before
    done = geosr("export", "bicubic-20", "-o", "x.onnx", "--overwrite")
    assert done.returncode == 0 and weights.load_file(tmp_path / "x.onnx").card.task == "guided"
    done = geosr("export", "x.onnx", "-o", "y.onnx")
    assert done.returncode == 2 and "already" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("dsen2", "-o", "x.onnx"), 2, "dsen2-20 and dsen2-60 one after the other"),
        (("dsen2-20", "-o", "x.pt"), 2, ".onnx"),
        (("dsen2-20", "-o", "nowhere/x.onnx"), 2, "no such folder"),
        (("swinir-light", "-o", "x.onnx"), 6, "geosr train"),
        (("dsen3", "-o", "x.onnx"), 2, "Did you mean"),
        (("dsen2-20",), 2, "--output"),
    ],
)
def test_export_refuses_what_it_cannot_do(geosr, tmp_path, args, code, said):
    done = geosr("export", *args)
    assert done.returncode == code and said in done.stderr
    assert not list(tmp_path.iterdir())


@exporting
def test_a_net_that_onnx_cannot_hold_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(UsageError, match="'highres-net' cannot be written as ONNX"):
        export(thin("highres-net", features=4, blocks=1), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


@exporting
def test_an_opset_that_cannot_be_reached_is_refused(tmp_path):
    with pytest.raises(UsageError, match="opset 17"):
        export(thin("shift-and-add"), tmp_path / "x.onnx", opset=17)
    assert export(thin("espcn", features=8), tmp_path / "x.onnx", opset=20).opset == 20
    assert onnx.load(tmp_path / "x.onnx").opset_import[0].version == 20


@exporting
def test_a_file_that_differs_from_its_net_never_appears(tmp_path, monkeypatch):
    monkeypatch.setattr("geosr.models.onnx.export.TOLERANCE", 0.0)
    target = tmp_path / "x.onnx"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match="differs from itself"):
        export(thin("srcnn", features=8), target, overwrite=True)
    assert target.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [target]


@exporting
def test_a_damaged_export_is_refused(dsen2, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(dsen2.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"x\.onnx"):
        weights.load_file(path)
    proto = onnx.load(dsen2)
    for item in proto.metadata_props:
        item.value = "{}" if item.key == "geosr.card" else item.value
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(WeightsError, match="not a model card"):
        weights.load_file(path)


@exporting
def test_training_does_not_begin_with_it(dsen2):
    with pytest.raises(UsageError, match=r"\.safetensors"):
        weights.load_file(dsen2).net.state_dict()


# files of others


@pytest.mark.parametrize(("wants", "added"), [("", 1), ("quantification: 1", 10000)])
def test_a_foreign_net_makes_a_finer_raster(geosr, tmp_path, wants, added):
    """It adds 1 count, or 1.0 of reflectance that it gets from 0 to 1."""
    values = image(tmp_path / "in/a.tif", names=("B2", "B3", "B4", "B8"))
    upsampler(tmp_path / "x.onnx", added=1.0,
              card=f"bands: [B02, B3, B4, B8]\nfactor: 2\nmargin: 3\n{wants}\n")  # fmt: skip
    done = geosr("superres", "in", "out", "--model", "x.onnx", "--tile-size", 16)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out/a.tif") as file:
        made = file.read()
        assert file.descriptions == ("B2", "B3", "B4", "B8") and file.transform.a == 5
    np.testing.assert_allclose(made, values.repeat(2, 1).repeat(2, 2).astype(int) + added, atol=1)
    done = geosr("superres", "in", "out", "--model", "x.onnx", "--tile-size", 16)
    assert "skipped" in done.stderr
    (tmp_path / "x.yaml").write_text("{bands: 4, factor: 2, margin: 3, quantification: 5000}")
    done = geosr("superres", "in", "out", "--model", "x.onnx", "--tile-size", 16)
    assert done.returncode == 4 and "--overwrite" in done.stderr  # another card is another net


def test_a_foreign_net_of_one_band_takes_every_band_by_itself(geosr, tmp_path):
    values = image(tmp_path / "in/a.tif", bands=3)
    upsampler(tmp_path / "x.onnx", bands=1, added=0.0, shape=(1, None, "h", "w"),
              card="{bands: 1, factor: 2, margin: 0, name: twice, license: MIT, gsd: 10}",
    )  # fmt: skip
    model = weights.load_file(tmp_path / "x.onnx")
    assert (model.card.name, model.card.license, model.card.options["gsd"]) == ("twice", "MIT", 10)
    assert model.parameters == 5
    done = geosr("superres", "in", "out", "--model", "x.onnx", "--batch-size", 2, "--tile-size", 16)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out/a.tif") as file:
        np.testing.assert_array_equal(file.read(), values.repeat(2, 1).repeat(2, 2))


def test_a_raster_of_other_bands_is_refused(geosr, tmp_path):
    image(tmp_path / "in/a.tif", bands=3)
    upsampler(tmp_path / "x.onnx", "{bands: [B2, B3, B4, B8], factor: 2, margin: 0}")
    done = geosr("superres", "in", "out", "--model", "x.onnx")
    assert done.returncode == 4 and "3 bands" in done.stderr and "4 at once" in done.stderr


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (None, r"x\.yaml beside it, for example: \{bands: \[B2"),
        ("{bands: 4, factor: 2, margin: 0, scale: 2, mean: 0}", "unknown scale, mean"),
        ("{bands: 4, factor: 2}", "no margin"),
        ("[B2, B3]", "holds a list"),
        ("bands: [B2", "not YAML"),
        ("!!python/object/apply:os.system ['touch pwned']", "not YAML"),
        ("{bands: [B2, B3, B4, B14], factor: 2, margin: 0}", "B14"),
        ("{bands: [B2, B2, B4, B8], factor: 2, margin: 0}", "each once"),
        ("{bands: true, factor: 2, margin: 0}", "bands are bool"),
        ("{bands: 4, factor: 1.5, margin: 0}", "factor is 1.5"),
        ("{bands: 4, factor: 2, margin: -1}", "margin is -1"),
        ("{bands: 4, factor: 2, margin: 0, quantification: 0}", "quantification is 0"),
        ("{bands: 4, factor: 2, margin: 0, license: [x]}", "license is list"),
        ("{bands: 3, factor: 2, margin: 0}", "takes 4 bands, its card names 3"),
        ("{bands: 4, factor: 3, margin: 0}", r"makes \(1, 4, 64, 64\)"),
    ],
)
def test_a_card_that_does_not_say_what_is_needed_is_refused(tmp_path, monkeypatch, card, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=said):
        weights.load_file(upsampler(Path("x.onnx"), card))
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"shape": ("batch", None, 64, 64)}, "free rows and columns"),
        ({"shape": (8, None, "h", "w")}, "free rows and columns"),
        ({"extra_inputs": 1}, "2 inputs"),
        ({"external": True}, "'added' lies in another file"),
    ],
)
def test_a_graph_that_geosr_cannot_feed_is_refused(tmp_path, how, said):
    (tmp_path / "secret.bin").write_bytes(b"\0" * 4)
    with pytest.raises(WeightsError, match=said):
        weights.load_file(upsampler(tmp_path / "x.onnx", **how))


def looping(op: str) -> onnx.NodeProto:
    """A Loop as it would never end, alone or within the branch of an If."""
    turn = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"]),
         helper.make_node("Identity", ["v"], ["v_out"])], "turn",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
         helper.make_tensor_value_info("v", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
         helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None)],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["turns", "go", "pixels"], ["same"], body=turn)
    if op == "Loop":
        return loop
    same = helper.make_tensor_value_info("same", TensorProto.FLOAT, None)
    branch = helper.make_graph([loop], "branch", [], [same])
    return helper.make_node("If", ["go"], ["same"], then_branch=branch, else_branch=branch)


@pytest.mark.parametrize("op", ["Loop", "If"])
def test_a_graph_with_loops_is_refused_before_it_runs(tmp_path, op):
    path = upsampler(tmp_path / "x.onnx")
    proto = onnx.load(path)
    proto.graph.node.insert(0, looping(op))
    proto.graph.node[1].input[0] = "same"
    proto.graph.initializer.extend(
        [helper.make_tensor("turns", TensorProto.INT64, [], [2**62]),
         helper.make_tensor("go", TensorProto.BOOL, [], [True])]
    )  # fmt: skip
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(WeightsError, match="has a Loop, and how often it turns"):
        weights.load_file(path)


def test_a_graph_that_fills_the_memory_by_itself_is_a_fault_of_the_file(tmp_path):
    path = upsampler(tmp_path / "x.onnx")
    proto = onnx.load(path)
    proto.graph.initializer.append(helper.make_tensor("size", TensorProto.INT64, [1], [2**48]))
    proto.graph.node.extend(
        [helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
         helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
         helper.make_node("Add", ["finer", "zero"], ["more"])]
    )  # fmt: skip
    proto.graph.output[0].name = "more"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(WeightsError, match="more memory than there is"):
        weights.load_file(path)


@pytest.mark.parametrize(
    ("kind", "shape", "said"),
    [
        (TensorProto.DOUBLE, ["n", 4, "h", "w"], r"its input is tensor\(double\)"),
        (TensorProto.FLOAT, ["n", "h", "w"], "3 dimensions"),
        (TensorProto.FLOAT, ["n", 4, "h", "w"], "its output is tensor.float., tensor.float.;"),
    ],
)
def test_tensors_of_another_kind_are_refused(tmp_path, kind, shape, said):
    given, *made = (helper.make_tensor_value_info(name, kind, shape) for name in "abc")
    nodes = [helper.make_node("Identity", ["a"], [name]) for name in "bc"]
    graph = helper.make_graph(nodes, "net", [given], made)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "x.onnx").write_bytes(proto.SerializeToString())
    (tmp_path / "x.yml").write_text("{bands: 4, factor: 2, margin: 0}")
    with pytest.raises(WeightsError, match=said):
        weights.load_file(tmp_path / "x.onnx")


@pytest.mark.parametrize("data", [b"", b"<html>", b"\x08\x09", bytes(1000)])
def test_what_is_no_onnx_is_refused(geosr, scene_dir, tmp_path, data):
    (tmp_path / "x.onnx").write_bytes(data)
    done = geosr("superres", scene_dir, "out", "--model", "x.onnx")
    assert done.returncode == 6 and "x.onnx" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "yaml"])
def test_without_the_extra_it_says_what_to_install(geosr, tmp_path, monkeypatch, package):
    image(tmp_path / "in/a.tif")
    upsampler(tmp_path / "x.onnx")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    done = geosr("superres", "in", "out", "--model", "x.onnx")
    assert done.returncode == 2 and "pip install 'geosr[onnx]'" in done.stderr
    done = geosr("export", "bicubic-20", "-o", "y.onnx")
    assert (done.returncode == 2) == (package != "yaml")


def test_memory_that_runs_out_is_told_as_such(tmp_path):
    net = weights.load_file(upsampler(tmp_path / "x.onnx")).net

    class Full:
        def run(self, *_: object) -> None:
            raise ValueError("Failed to allocate memory for requested buffer of size 1")

    net._session = Full()
    with pytest.raises(MemoryError):
        net(torch.zeros(1, 4, 3, 3))
    assert copy.deepcopy(net)(torch.zeros(1, 4, 3, 3)).shape == (1, 4, 6, 6)


def test_a_file_without_the_graph_of_its_card_is_refused(tmp_path):
    proto = onnx.load(upsampler(tmp_path / "x.onnx"))
    card = registry.design("espcn").card()
    proto.metadata_props.add(key=onnx_net.CARD, value=card.to_json())
    (tmp_path / "x.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(WeightsError, match="has the inputs pixels where its card says image"):
        weights.load_file(tmp_path / "x.onnx")
