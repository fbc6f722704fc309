"""ONNX files: written by either of torch's two exporters, and in fewer bits. Legend: N pictures, H x W pixels."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.core.errors import UserError
from shelfmark.export.network import EMBEDDING, PIXELS, ExportedNetwork

OPSET = 18
# With the three of an EfficientNet-Lite in fp32, 90% of the pictures kept their class in place of 56%.
_FIRST_CONVOLUTIONS = 3
_WEIGHTY = ("Conv", "MatMul", "Gemm")
_NOISY = ("torch.onnx", "onnxscript", "onnx_ir", "root")


def require_packages(names: Sequence[str] = ("onnx", "onnxruntime", "onnxscript")) -> None:
    """Raises a UserError if a package of the extra `export` cannot be imported."""
    try:
        if "onnx" in names:
            import onnx  # noqa: F401
        if "onnxscript" in names:
            import onnxscript  # noqa: F401
        if "onnxruntime" in names:
            import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"`shelfmark export` needs the extra `export`, of which one cannot be imported ({error}). Install it with"
            " pip install -e '.[export]', or with pip install onnx onnxruntime onnxscript."
        ) from error


def by_torchscript(network: ExportedNetwork, pixels: torch.Tensor, file: Path) -> None:
    """Writes what a pass over `pixels` (N, H, W, 3) does, with any N. The exporter that records a pass."""
    names = network.output_names
    torch.onnx.export(
        network,
        (pixels,),
        str(file),
        dynamo=False,
        input_names=[PIXELS],
        output_names=list(names),
        dynamic_axes={name: {0: "batch"} for name in (PIXELS, *names)},
        opset_version=OPSET,
    )


def by_dynamo(network: ExportedNetwork, pixels: torch.Tensor, file: Path) -> None:
    """As `by_torchscript`, by the exporter that follows the program."""
    program = torch.onnx.export(
        network,
        (pixels,),
        dynamo=True,
        input_names=[PIXELS],
        output_names=list(network.output_names),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=OPSET,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    program.save(str(file), external_data=False)


def by_torch_export(network: ExportedNetwork, pixels: torch.Tensor, file: Path) -> None:
    """Writes an `ExportedProgram`, which `torch.export.load` reads, with any N."""
    batch = torch.export.Dim("batch", min=1)
    torch.export.save(torch.export.export(network, (pixels,), dynamic_shapes=({0: batch},)), file)


Exporter = Callable[[ExportedNetwork, torch.Tensor, Path], None]
# The one that records a pass comes first: it takes a twentieth of the time.
EXPORTERS: dict[str, dict[str, Exporter]] = {
    "onnx": {"torchscript": by_torchscript, "dynamo": by_dynamo},
    "torch": {"torch.export": by_torch_export},
}


def export(network: ExportedNetwork, size_px: Sequence[int], file: Path, exporter: Exporter) -> None:
    """Writes the file. size_px: height and width of the input. Whatever the exporter raises is raised."""
    # Two pictures: with one, an exporter may take the number for a constant.
    pixels = torch.randint(0, 256, (2, *size_px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with _silence():
        exporter(network, pixels, file)


def to_fp16(file: Path) -> None:
    """Weights and arithmetic in half the bits, in place. Outputs, and all behind the embedding, stay as they are."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _silence():
        model = onnx.load(str(file))
        kept = [*_behind_embedding(model), *(node.name for node in model.graph.node if node.op_type == "Cast")]
        onnx.save(convert_float_to_float16(model, keep_io_types=True, node_block_list=kept), str(file))


def to_int8(file: Path, batches: Iterator[np.ndarray]) -> None:
    """Weights and activations of convolutions and products in 8 bits, in place; not of the first three convolutions,
    nor behind the embedding.

    batches: pixels (N, H, W, 3) by whose activations the ranges are found, one range for each tensor.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class _Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            batch = next(batches, None)
            return None if batch is None else {PIXELS: batch}

    prepared = file.with_name("prepared.onnx")
    with _silence():
        quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(file),
            _Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(_WEIGHTY),
            nodes_to_exclude=_kept_of_int8(onnx.load(str(prepared))),
        )
    prepared.unlink()


def _kept_of_int8(model: Any) -> list[str]:
    """All behind the embedding, and the first convolutions: there few channels have numbers of very different size."""
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    return [*_behind_embedding(model), *convolutions[: min(_FIRST_CONVOLUTIONS, len(convolutions) // 4)]]


def _behind_embedding(model: Any) -> list[str]:
    """The nodes without which the embedding is made all the same: those of the classifier and the heads."""
    needed, names = {EMBEDDING}, []
    for node in reversed(model.graph.node):  # which stand in the order of the computation
        if needed & set(node.output):
            needed |= set(node.input)
        else:
            names.append(node.name)
    return names


@contextmanager
def _silence() -> Iterator[None]:
    """Exporters warn about what the proof looks at anyway."""
    levels = {name: logging.getLogger(name).level for name in _NOISY}
    handlers = list(logging.root.handlers)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        # onnxruntime calls `logging.warning`, which gives the root a handler: our own lines would come twice then.
        logging.root.handlers[:] = handlers
