"""What `geosr eval` and `geosr report` share: settings, nets, results as document and table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geosr.cli.options import fit_of, frames_of, open_options

if TYPE_CHECKING:
    from geosr.evaluation.evaluate import Evaluation
    from geosr.evaluation.protocols import Data
    from geosr.inference.engine import Engine
    from geosr.inference.fitoptions import FitOptions
    from geosr.metrics.full_reference import Peak
    from geosr.metrics.lpips import Lpips
    from geosr.models.card import Model

_SHOWN = {  # metric: heading, digits; in the table
    "rmse": ("RMSE", 2), "gain": ("gain", 3), "sre": ("SRE", 2), "sam": ("SAM", 3),
    "uiq": ("UIQ", 4), "ergas": ("ERGAS", 3), "psnr": ("PSNR", 2), "ssim": ("SSIM", 4),
    "cc": ("CC", 4),
    "d_lambda": ("D_lambda", 4), "d_rho": ("D_rho", 4), "qnr": ("QNR", 4),
    "opensr_improvement": ("improve", 4), "opensr_omission": ("omission", 4),
    "opensr_hallucination": ("halluc.", 4),
    "power_ratio": ("power", 3), "detail_gain": ("d.gain", 3), "detail_right": ("right", 3),
    "detail_missing": ("missing", 3), "detail_invented": ("invent.", 3),
    "lpips": ("LPIPS", 4), "cpsnr": ("cPSNR", 3), "cssim": ("cSSIM", 5), "score": ("score", 5),
}  # fmt: skip


def settings_of(params: dict[str, Any]) -> dict[str, Any]:
    """What a second run needs, as plain values."""
    options, frames = open_options(params), frames_of(params)
    fit = fit_of(params)
    auto = {key: None if params[key] == "auto" else params[key] for key in
            ("protocol", "degradation")}  # fmt: skip
    return {
        "models": [name for name in params["model_names"] if name != "bicubic"],
        "scale": _scale(params), "data": str(params["data"].absolute()),
        "pattern": params["pattern"], "tile_size": params["tile_size"], **auto,
        "options": asdict(options), "frames": asdict(frames), "fit": fit.recipe,
        "psf": list(params["psf"]), "noise": list(params["noise"]),
        "peak": params["peak"], "lpips": _stamped(params["lpips"]),
        **({"refine": params["refine"]} if params["refine"] else {}),
    }  # fmt: skip


def _stamped(path: Path | None) -> dict[str, str] | None:
    """LPIPS weights as settings name them."""
    from geosr.metrics.lpips import load

    return {"file": str(path.absolute()), "sha256": load(path).sha256} if path else None


def peak_of(settings: dict[str, Any]) -> Peak:
    """The peak of `settings_of`."""
    peak: Peak = settings.get("peak", 10000.0)
    return peak


def lpips_of(settings: dict[str, Any]) -> Lpips | None:
    """The LPIPS of `settings_of`, by the same weights.

    Raises:
        WeightsError: the file is gone or has changed.
    """
    from geosr.metrics.lpips import load

    named = settings.get("lpips")
    return load(Path(named["file"]), sha256=named["sha256"]) if named else None


def _scale(params: dict[str, Any]) -> float | None:
    """The scale asked for; imgsets know no other than 3."""
    from geosr.sensors import probav

    return params["scale"] or (3 if probav.is_imgsets(params["data"]) else None)


def require_local(settings: dict[str, Any], path: Path) -> None:
    """A result file may come from elsewhere: what it names is read only from this machine.

    Raises:
        UsageError: it names data, nets or weights on a network, or asks for VRTs.
    """
    from geosr.errors import UsageError
    from geosr.sensors import is_remote

    named = [settings["data"], *settings["models"], (settings.get("lpips") or {}).get("file", "")]
    far = next((str(name) for name in named if is_remote(str(name))), None)
    options = settings["options"]
    if far or options.get("remote") or options.get("vrt"):
        asked = far[:80] if far else "remote data or VRTs"
        raise UsageError(f"{path} names {asked}; a report reads local rasters only. Run eval.")


def fit_options_of(settings: dict[str, Any]) -> FitOptions:
    """How nets of `settings_of` learn on a scene."""
    from geosr.inference.fitoptions import FitOptions

    fit = settings.get("fit", {})
    reference = fit.get("reference")
    return FitOptions(**{**fit, "reference": Path(reference[0]) if reference else None})


def data_of(settings: dict[str, Any]) -> Data:
    """The data of `settings_of`."""
    from geosr.evaluation.protocols import Data
    from geosr.scene.frames import FrameOptions
    from geosr.sensors import OpenOptions

    options = dict(settings["options"])
    if options["bands_in"]:
        options["bands_in"] = tuple(options["bands_in"])
    return Data(Path(settings["data"]), settings["protocol"], settings["pattern"],
                settings["degradation"], OpenOptions(**options), settings["tile_size"],
                FrameOptions(**settings.get("frames", {})), tuple(settings.get("psf", ())),
                tuple(settings.get("noise", ())), fit_options_of(settings),
                settings.get("refine", ""))  # fmt: skip


def placed(names: Sequence[str], scale: float | None, where: Engine) -> dict[str, list[Model]]:
    """Nets by the name they were asked by, placed; bicubic at every scale among them, last."""
    from geosr.evaluation.evaluate import bicubic_beside
    from geosr.inference.predict import place
    from geosr.models import weights

    found = {name: weights.load(name, scale=scale) for name in dict.fromkeys(names)}
    beside = bicubic_beside(found, scale)
    return {name: [place(net, where) for net in parts] for name, parts in beside.items()}


def document(
    found: Evaluation, settings: dict[str, Any], models: dict[str, list[Model]]
) -> dict[str, Any]:
    """Means over scenes by group and model, pairs compared, then every score.

    `ratio` is that of the mean RMSEs.
    """
    from geosr import __version__
    from geosr.metrics.full_reference import definitions

    means = {
        group: {
            model: {
                **{key: found.mean(model, group, key) for key in _metrics(found, group)},
                "ratio": found.ratio(model, group, "bicubic"),
                "spread": {key: found.spread(model, group, key) for key in _metrics(found, group)},
                "scenes": found.scenes(group, model),
            }
            for model in found.models
        }
        for group in found.groups
    }  # fmt: skip
    return {
        "geosr": __version__,
        "protocol": found.protocol,
        "data": settings["data"],
        "settings": settings,
        "nets": [
            {"model": name, "net": net.card.name, "scale": net.card.continuous or net.card.scale,
             "parameters": net.parameters, "sha256": net.card.sha256}
            for name, parts in models.items() for net in parts
        ],
        "definitions": definitions(peak_of(settings)),
        "means": means,
        "paired": [asdict(pair) for pair in _paired(found)],
        "scores": [asdict(score) for score in found.scores],
        "failed": dict(found.failed),
    }  # fmt: skip


def _metrics(found: Evaluation, group: str) -> list[str]:
    """Metrics that any score of a group has."""
    keys = (key for score in found.scores if score.group == group for key in score.whole)
    return list(dict.fromkeys(keys))


def _paired(found: Evaluation) -> list[Any]:
    models = found.models
    return found.paired(models[0], models[1]) if len(models) > 1 else []


def finite(value: Any) -> Any:
    """JSON has no infinity: the SRE of a perfect estimate is null."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(found: Evaluation, peak: Peak = 10000.0) -> str:
    """A block a group, a row a model: RMSE by band, then the other metrics, means over scenes."""
    said = peak if isinstance(peak, str) else f"{peak:.10g}"
    lines = [f"protocol: {found.protocol}; means over scenes; RMSE in counts of 10000 to 1.0, "
             f"SRE and PSNR in dB (peak {said}), SAM in °"]  # fmt: skip
    for group in found.groups:
        lines += ["", *_block(found, group)]
    for pair in _paired(found):
        lines += ["", f"{pair.group}: {pair.first} against {pair.second} on {pair.scenes} scenes: "
                  f"better on {pair.wins:.0%}, {pair.metric} differs by {pair.difference:+.3f} "
                  f"({pair.low:+.3f} … {pair.high:+.3f}, 95 % of the bootstrap)"]  # fmt: skip
    return "\n".join(lines)


def _block(found: Evaluation, group: str) -> list[str]:
    at = [score for score in found.scores if score.group == group]
    bands = list(dict.fromkeys(band for score in at for band in score.bands.get("rmse", {})))
    bands = bands if 1 < len(bands) <= 13 else []
    keys = [key for key in _SHOWN if key in _metrics(found, group)]
    if not bands and "sam" in keys:  # one band has no angle
        keys.remove("sam")
    heads = [*bands, *(_SHOWN[key][0] for key in keys), "ratio"]
    title = f"{group} m bands, degraded by {at[0].factor}" if group.isdigit() else group
    title += " (of what is made at 5 m there is no truth)" * (group == "10")
    lines = [
        f"{title}, {found.scenes(group)} scenes",
        f"{'':32}" + "".join(f"{head:>9}" for head in heads),
    ]
    models = [model for model in found.models if any(score.model == model for score in at)]
    for model in models:
        cells = [(found.mean(model, group, "rmse", band), 2) for band in bands]
        cells += [(found.mean(model, group, key), _SHOWN[key][1]) for key in keys]
        cells.append((found.ratio(model, group, "bicubic"), 4))
        lines.append(_line(model, cells))
    if "gain" in keys:
        lines.append("gain of detail, by band")
        lines += [_line(model, [(found.mean(model, group, "gain", band), 3) for band in bands])
                  for model in models]  # fmt: skip
    return lines


def _line(model: str, cells: Sequence[tuple[float | None, int]]) -> str:
    row = "".join(f" {'–' if v is None else format(v, f'.{n}f'):>8}" for v, n in cells)
    return f"{model[-32:]:32}{row}"


def as_csv(found: Evaluation) -> str:
    """scene, group, model, net, band ("" is the whole scene), metric, value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scene", "path", "group", "model", "net", "band", "metric", "value"])
    for score in found.scores:
        head = [score.scene, score.path, score.group, score.model, score.net]
        for metric, value in score.whole.items():
            writer.writerow([*head, "", metric, "" if value is None else repr(value)])
        for metric, values in score.bands.items():
            for band, value in values.items():
                writer.writerow([*head, band, metric, "" if value is None else repr(value)])
    return text.getvalue()
