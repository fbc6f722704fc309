"""Files in which a backbone's tensors stand under a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.models.backbones import build_backbone
from shelfmark.models.weights import load_backbone_weights

NAME = "test_resnet"


def network(seed: int, name: str = NAME) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return timm.create_model(name)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """The tensors of a whole small network, its classifier `fc.` among them."""
    return network(1).state_dict()


@pytest.fixture(scope="module")
def other() -> dict[str, Tensor]:
    """Those of the same network from another seed."""
    return network(2).state_dict()


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


def filled_from(file: Path, content: object) -> dict[str, Tensor]:
    """The tensors of a fresh backbone, filled from a file of this content; behind a `#` may stand a prefix."""
    torch.save(content, str(file).partition("#")[0])
    backbone = build_backbone(NAME, seed=0)[0]
    load_backbone_weights(backbone, NAME, str(file))
    return backbone.state_dict()


def equal(filled: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, state[key]) for key, tensor in filled.items())


@pytest.mark.parametrize(
    "prefix", ["model.backbone.", "encoder_q.", "module.encoder_q.", "teacher.", "base_encoder.", "a.b.c.d."]
)
def test_any_prefix_under_which_all_tensors_stand_is_taken_off(
    prefix: str, state: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beside = {"queue": torch.zeros(4), "momentum.conv1.0.weight": state["conv1.0.weight"] + 1}
    assert equal(filled_from(tmp_path / "w.pth", beside | below(prefix, state)), state)
    assert f"w.pth, under {prefix!r}" in caplog.text


def test_the_groups_of_a_file_are_prefixes_too(state: dict[str, Tensor], tmp_path: Path) -> None:
    content = {"epoch": 3, "student": {"head": torch.zeros(1)}, "teacher": {"backbone": state}}
    assert equal(filled_from(tmp_path / "w.pth", content), state)


def test_of_two_networks_in_a_file_the_user_says_which(
    state: dict[str, Tensor], other: dict[str, Tensor], tmp_path: Path
) -> None:
    two = below("encoder_q.", state) | below("encoder_k.", other)
    told = r"under 'encoder_q\.' and under 'encoder_k\.', and they differ.*model\.weights='FILE#encoder_q\.'"
    with pytest.raises(UserError, match=told):
        filled_from(tmp_path / "moco.pth", two)
    for asked, meant in {"moco.pth#encoder_q": state, "moco.pth#encoder_k.": other}.items():
        assert equal(filled_from(tmp_path / asked, two), meant)


def test_a_prefix_that_lacks_its_beginning_is_told_the_whole_one(state: dict[str, Tensor], tmp_path: Path) -> None:
    told = r"under the prefix 'encoder_q\.', 0 of them fit.*stand under 'm\.encoder_q\.'.*'FILE#m\.encoder_q\.'\.$"
    with pytest.raises(UserError, match=told):
        filled_from(tmp_path / "w.pth#encoder_q", below("m.encoder_q.", state))


def test_one_of_the_two_may_have_no_prefix(state: dict[str, Tensor], other: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"under '' and under 'ema\.'"):
        filled_from(tmp_path / "ema.pth", state | below("ema.", other))
    assert equal(filled_from(tmp_path / "ema.pth#", state | below("ema.", other)), state)


def test_the_same_network_twice_asks_nothing(state: dict[str, Tensor], tmp_path: Path) -> None:
    assert equal(filled_from(tmp_path / "w.pth", state | below("ema.", state)), state)


def test_a_prefix_under_which_not_all_fit_is_named_with_their_number(state: dict[str, Tensor], tmp_path: Path) -> None:
    broken = below("encoder_q.", state)
    del broken["encoder_q.conv1.0.weight"]
    broken["encoder_q.bn1.weight"] = torch.zeros(3)
    num_own = len(build_backbone(NAME, seed=0)[0].state_dict())
    width = len(state["bn1.weight"])
    told = (
        rf"does not fit model\.backbone=test_resnet, which has {num_own} tensors: under the prefix 'encoder_q\.',"
        rf" {num_own - 2} of them fit: 1 missing \(conv1\.0\.weight\);"
        rf" 1 of another shape \(bn1\.weight \[3\] where the model has \[{width}\]\)"
    )
    with pytest.raises(UserError, match=told):
        filled_from(tmp_path / "w.pth", broken)
    with pytest.raises(UserError, match=r"under the prefix 'encoder_k\.', 0 of them fit"):
        filled_from(tmp_path / "w.pth#encoder_k", broken)


def test_a_deeper_network_under_a_prefix_is_not_taken_for_a_part(state: dict[str, Tensor], tmp_path: Path) -> None:
    deeper = {**state, "layer4.7.conv1.weight": torch.zeros(1)}
    with pytest.raises(UserError, match=r"under the prefix 'module\.'.*1 unexpected \(layer4\.7\.conv1\.weight\)"):
        filled_from(tmp_path / "w.pth", below("module.", deeper))


def test_a_file_whose_name_has_the_mark_is_that_file(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "run#3.pth")
    backbone = build_backbone(NAME, seed=0)[0]
    load_backbone_weights(backbone, NAME, str(tmp_path / "run#3.pth"))
    assert equal(backbone.state_dict(), state)
    with pytest.raises(UserError, match=r"gone\.pth': there is no such file"):
        load_backbone_weights(backbone, NAME, str(tmp_path / "gone.pth#encoder_q"))


@pytest.mark.parametrize(
    ("groups", "taken"),
    [
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("state_dict_ema",), "state_dict_ema"),
        (("model", "state_dict"), "state_dict"),
    ],
)
def test_of_a_trainings_file_with_two_networks_the_average_is_taken_and_told(
    tmp_path: Path,
    state: dict[str, Tensor],
    other: dict[str, Tensor],
    caplog: pytest.LogCaptureFixture,
    groups: tuple[str, ...],
    taken: str,
) -> None:
    file = tmp_path / "last.pth.tar"
    torch.save({"epoch": 3, **{group: state if group == taken else other for group in groups}}, file)
    backbone = build_backbone(NAME, seed=0)[0]
    with caplog.at_level("INFO"):
        load_backbone_weights(backbone, NAME, str(file))
    assert all(torch.equal(tensor, state[key]) for key, tensor in backbone.state_dict().items())
    assert (f"{taken} is taken" in caplog.text) == (len(groups) > 1)
