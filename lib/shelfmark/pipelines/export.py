"""`shelfmark export`: a file that runs elsewhere, and the proof that it gives the same answers. Legend: N pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError, choose
from shelfmark.core.folders import EXPORTED, atomic_folder
from shelfmark.core.log import say, warn
from shelfmark.core.rng import numpy_generator
from shelfmark.data.sources import UnreadableImage
from shelfmark.data.transforms import eval_transform
from shelfmark.export import bits, folder, onnx_files, predict
from shelfmark.export.model_facts import ModelFacts, input_facts
from shelfmark.export.network import ExportedNetwork
from shelfmark.export.proof import ALLOWED, FEWEST_PICTURES, Expected, OwnLogits, Proof, measure
from shelfmark.retrieval.index_files import index_hash, read_manifest
from shelfmark.runtime.opened_index import require_same_model
from shelfmark.runtime.proof_pictures import Pictures, class_groups, require_read
from shelfmark.runtime.thresholds_file import read_thresholds, thresholds_file
from shelfmark.runtime.trained_model import TrainedModel

PRECISIONS = ("fp32", "fp16", "int8")
NUM_REFERENCE = 200
_CALIBRATED_ON, _BATCH = 128, 16
_PACKAGES = ("onnx", "onnxruntime", "onnxscript", "torch", "numpy", "pillow", "timm")


@dataclass(frozen=True)
class Asked:
    """What is exported, and how. to: onnx or torch. images: pictures of the proof, in place of val."""

    to: str = "onnx"
    precision: str = "fp32"
    heads: tuple[str, ...] = ()
    images: Path | None = None
    index: Path | None = None
    num_reference: int = NUM_REFERENCE

    def __post_init__(self) -> None:
        choose("--to", self.to, onnx_files.EXPORTERS)
        choose("--precision", self.precision, PRECISIONS)
        if self.to == "torch" and self.precision != "fp32":
            raise UserError(f"--precision {self.precision} is of onnx files; leave it out, or take --to onnx.")
        if self.num_reference < 1:
            raise UserError(f"--reference {self.num_reference} is no number of pictures; give 1 or more.")


@dataclass(frozen=True)
class Exported:
    """folder: None where nothing was published, because no exporter's file passed the proof. parity: see parity.json;
    without a folder it holds what was tried."""

    folder: Path | None
    parity: Mapping[str, Any]


def export(model: TrainedModel, out: Path, asked: Asked) -> Exported:
    """Writes the folder `out`, whole or not at all, with a file that passed the proof. See `export.folder`.

    UserError: something that the export cannot express is asked for, or the pictures are not there.
    """
    _require_one_view(model)
    onnx_files.require_packages(("onnxruntime",) if asked.to == "torch" else ("onnx", "onnxruntime", "onnxscript"))
    network = network_of(model, asked.heads)
    index = index_facts_of(model, asked.index)
    thresholds = thresholds_of(model, asked.index, asked.precision)
    pictures = Pictures.of(model, asked.images, _CALIBRATED_ON if asked.precision == "int8" else 0)
    work = _Work(model, network, asked, pictures)
    facts = replace(work.facts(), index=index, thresholds=thresholds)
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    tried: list[dict[str, Any]] = []
    try:
        with atomic_folder(out, kind=EXPORTED, size_bytes=weights) as made:
            expected = work.expected()
            folder.write_model_facts(made, facts.as_json())
            measured = work.prove(made, expected, tried)
            parity = work.finished(made, expected, measured)
            folder.write_proof(made, {**parity, "tried": tried})
    except _NotProvedError:
        return Exported(None, {"tried": tried, "pictures": len(expected), "allowed": ALLOWED})
    return Exported(out, {**parity, "tried": tried})


@dataclass
class _Work:
    """The steps of one export."""

    model: TrainedModel
    network: ExportedNetwork
    asked: Asked
    pictures: Pictures
    exporter: str = ""
    table: list[dict[str, Any]] = field(default_factory=list)

    def expected(self) -> Expected:
        pictures = self.pictures
        say(f"export: {len(pictures.rows):,} images of {pictures.where} through the checkpoint, in fp32 on the CPU")
        found = proof_of(self.model, self.network).expected(pictures.source, pictures.rows, pictures.labels)
        require_read(found, len(pictures.rows))
        return found

    def facts(self) -> ModelFacts:
        model, recipe = self.model, self.model.recipe
        size = recipe.data.input_size_px
        with torch.inference_mode():
            outputs = self.network(torch.zeros(1, size, size, 3, dtype=torch.uint8))
        return ModelFacts(
            name=recipe.name,
            file=folder.FILES[self.asked.to],
            precision=self.asked.precision,
            checkpoint=str(model.checkpoint.folder.resolve()),
            how=input_facts(recipe.data),
            outputs={name: one[0].numel() for name, one in zip(self.network.output_names, outputs)},
            class_names=model.class_names,
            groups=class_groups(model, self.pictures),
            hashes={name: model.hashes.facts[name] for name in ("checkpoint_sha256", "embedding_sha256")},
        )

    def prove(self, made: Path, expected: Expected, tried: list[dict[str, Any]]) -> dict[str, Any]:
        """Writes the file by the first exporter whose file passes, and returns what was measured."""
        file, size = made / folder.FILES[self.asked.to], self.model.recipe.data.input_size_px
        for name, exporter in onnx_files.EXPORTERS[self.asked.to].items():
            try:
                onnx_files.export(self.network, (size, size), file, exporter)
                predictor = predict.load(made)
                measured, top1 = measure(predictor, self.pictures.source, expected)
            except (UnreadableImage, predict.UnreadablePicture) as error:
                # No fault of the file: the next exporter would meet it too.
                picture = error.path if isinstance(error, UnreadableImage) else error.name
                raise UserError(
                    f"{picture} was read for the checkpoint, and cannot be read any more: {error.reason}. Nothing was"
                    " published; export again when the pictures stay as they are."
                ) from None
            except Exception as error:  # exporters and runtimes meet what they do not know with errors of every type
                tried.append({"exporter": name, "error": f"{type(error).__name__}: {error}"[:2000]})
            else:
                unmet = predict.unmet(measured, ALLOWED)
                tried.append({"exporter": name, "measured": measured, "unmet": unmet})
                if not unmet:
                    self.exporter = name
                    self._add_row("fp32", file, predictor, measured, top1, expected)
                    return measured
            say(f"export: the file of the exporter {name} did not pass: {told(tried[-1])}")
        raise _NotProvedError

    def finished(self, made: Path, expected: Expected, measured: dict[str, Any]) -> dict[str, Any]:
        """The file in the precision that is asked for, the reference, and what parity.json says of all."""
        file, fewer_bits = made / folder.FILES[self.asked.to], self.asked.precision != "fp32"
        calibrated = self._convert(made, file, expected) if fewer_bits else 0
        of_file, allowed = measured, dict(ALLOWED)
        predictor = predict.load(made)
        if fewer_bits:
            of_file, top1 = measure(predictor, self.pictures.source, expected)
            self._add_row(self.asked.precision, file, predictor, of_file, top1, expected)
            allowed = {"top1_agreement": of_file["top1_agreement"] - bits.SLACK}
            if of_file["top1_agreement"] < bits.FEW_AGREE:
                warn(
                    f"with {self.asked.precision}, {1 - of_file['top1_agreement']:.1%} of the images get another class:"
                    " look at the table before you use the file"
                )
        size = folder.write_reference(made, self.pictures.source, expected, self.asked.num_reference)
        of_reference = predict.check_reference(predictor)
        return {
            "format": 1,
            "pictures": len(expected),
            "of": self.pictures.where,
            "is_weaker": len(expected) < FEWEST_PICTURES,
            "unread": expected.unread,
            "exporter": self.exporter,
            "precision": self.asked.precision,
            "measured": measured,
            "allowed": ALLOWED,
            "measured_of_file": of_file,
            "allowed_of_file": allowed,
            "allowed_of_reference": allowed
            if not fewer_bits
            else {"top1_agreement": of_reference["measured"]["top1_agreement"] - bits.SLACK},
            "pixels": {"resize_differs": expected.resize_differs, "decoders": expected.decoders},
            "commands": {
                "precision": self.model.precision.name,
                "device": str(self.model.precision.device),
                "other_class": expected.own_precision_differs,
            },
            "table": self.table,
            "calibrated_on": calibrated,
            "reference": {"pictures": of_reference["measured"]["pictures"], "bytes": size},
            "versions": {name: version(name) for name in _PACKAGES},
        }

    def _add_row(
        self,
        precision: str,
        file: Path,
        predictor: predict.Predictor,
        measured: dict[str, Any],
        top1: np.ndarray,
        expected: Expected,
    ) -> None:
        labels = expected.labels if self.pictures.are_classes else np.full(len(expected), -1)
        self.table.append(bits.row_of_table(precision, file, predictor, measured, top1, labels))

    def _convert(self, made: Path, file: Path, expected: Expected) -> int:
        """The file in fewer bits, in its place. Returns the number of pictures that its ranges are learned on."""
        if self.asked.precision == "fp16":
            onnx_files.to_fp16(file)
            return 0
        rows = self.pictures.others
        if not len(rows):
            warn(
                "--precision int8: there are no more images, so its ranges are learned on those that it is measured on"
            )
            rows = expected.rows
        rows = numpy_generator(self.model.recipe.seed, "int8 ranges").permutation(rows)[:_CALIBRATED_ON]
        onnx_files.to_int8(file, self._batches(predict.load(made), rows))
        return len(rows)

    def _batches(self, predictor: predict.Predictor, rows: np.ndarray) -> Iterator[np.ndarray]:
        source, pixels = self.pictures.source, []
        for row in rows:
            try:
                pixels.append(predictor.pixels(source.read(int(row)), source.name(int(row))))
            except (predict.UnreadablePicture, UserError):
                continue
            if len(pixels) == _BATCH:
                yield np.stack(pixels)
                pixels = []
        if pixels:
            yield np.stack(pixels)


class _NotProvedError(Exception):
    """No exporter's file passed."""


def network_of(model: TrainedModel, heads: Sequence[str] = ()) -> ExportedNetwork:
    """The network as it is exported. UserError: it has no such head."""
    data, adapters = model.recipe.data, model.recipe.model.adapters
    settings = data.input_settings
    return ExportedNetwork(model.network, adapters, settings.mean, settings.std, data.input_size_px, heads)


def proof_of(model: TrainedModel, network: ExportedNetwork) -> Proof:
    """How pictures pass through the checkpoint."""
    data = model.recipe.data
    return Proof(network, eval_transform(data.input_size_px, data), input_facts(data), _own_logits(model))


def told(one: Mapping[str, Any]) -> str:
    """An attempt of an exporter, in words."""
    return one["error"].partition("\n")[0] if "error" in one else "; ".join(one["unmet"])


def index_facts_of(model: TrainedModel, index: Path | None) -> dict[str, Any] | None:
    """What model.json says of an index. UserError: its vectors are of another model."""
    if index is None:
        return None
    manifest = read_manifest(index)
    require_same_model(index, manifest["facts"], model)
    return {"sha256": index_hash(index), "num_vectors": manifest["num_vectors"]}


def thresholds_of(model: TrainedModel, index: Path | None, precision: str) -> Mapping[str, Any] | None:
    """The content of thresholds.json, of the index or beside the checkpoint.

    None, with a warning, where it was learned with another model or index, or where the file answers in fewer bits.
    """
    file = thresholds_file(model, index)
    found = read_thresholds(file)
    if found is None:
        return None
    stale = found.stale(model.hashes.checkpoint, None if index is None else index_hash(index), None)
    if stale:
        warn(
            f"the thresholds in {file} are left out ({stale}), and nothing is promised. `shelfmark thresholds` learns"
            " them anew"
        )
        return None
    if precision != "fp32":
        warn(
            f"the thresholds in {file} are left out, and nothing is promised: they were learned with the checkpoint,"
            f" and a file in {precision} has other scores"
        )
        return None
    return found.thresholds


def _require_one_view(model: TrainedModel) -> None:
    """Raises a UserError where a prediction is a mean over several passes, which one file does not make."""
    asked, size = model.recipe.predict, model.recipe.data.input_size_px
    several = [f"predict.views={asked.views}"] if asked.views != "centre" else []
    if asked.sizes_px not in ((), (size,)):
        several.append(f"predict.sizes_px={list(asked.sizes_px)}")
    if several:
        raise UserError(
            f"{' and '.join(several)}: the model's probabilities are a mean over several passes, and an exported file"
            f" makes one. Export with predict.views=centre predict.sizes_px=[]: its answers are then those of"
            f" `shelfmark test` with the same two options."
        )


def _own_logits(model: TrainedModel) -> OwnLogits | None:
    """As the commands compute them; None where that is in fp32 on the CPU."""
    device = model.precision.device
    if model.precision.name == "fp32" and device.type == "cpu":
        return None

    def logits(images: Tensor) -> Tensor:
        with torch.inference_mode():
            with model.precision.autocast():
                embedding = model.network.embed(images.to(device))
            return model.network.logits(embedding).cpu()

    return logits


def heads_of(words: Sequence[str]) -> tuple[str, ...]:
    """`--heads a,b c` as names."""
    return tuple(name for word in words for name in word.split(",") if name)
