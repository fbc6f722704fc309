"""What the service says about photographs, beside what the exported model says by itself."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from exported import CLASS_NAMES, NUM_CLASSES, write_exported
from PIL import Image
from served import Served, photographs, served, write_gallery

from shelfmark.core.errors import UserError
from shelfmark.export import predict
from shelfmark.predictions.joined import combined
from shelfmark.retrieval import Neighbours
from shelfmark.retrieval.index_files import index_hash
from shelfmark.serving.answers import Answerer
from shelfmark.serving.gallery import Gallery
from shelfmark.serving.models import ExportedModel
from shelfmark.serving.promises import promise_of
from shelfmark.serving.versions import Source

LABELS = [0, 1, 2, 2, 7, -1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model, six photographs and an index of them: of four known classes, a new one, and none."""
    place = tmp_path_factory.mktemp("served")
    write_exported(place / "exported")
    write_gallery(place / "index", place / "exported", photographs(place / "photos", len(LABELS)), LABELS)
    return place


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[Served]:
    with served(Source(model=place / "exported", index=place / "index", decoders=1)) as running:
        yield running


@pytest.fixture(scope="module")
def photos(place: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((place / "photos").iterdir())]


@pytest.fixture(scope="module")
def predictor(place: Path) -> predict.Predictor:
    return predict.load(place / "exported")


def test_the_embedding_of_a_file_is_that_of_predict_py(service, photos, predictor):
    reply = service.post_form("/embed", [("file", one) for one in photos])
    found = np.array([one["embedding"] for one in reply.json["answers"]])
    assert [one["id"] for one in reply.json["answers"]] == ["0", "1", "2", "3", "4", "5"]
    np.testing.assert_allclose(found, predictor.predict(photos)[0], atol=1e-5)


def test_neighbours_that_are_shown_have_no_part_in_the_answer(place, photos, predictor):
    model = ExportedModel(predictor)
    whole = Gallery.open(place / "index", predictor.facts, model.outputs["embedding"])

    class Approximate(Gallery):
        """Of more than ten neighbours the nearest is not found, as it can happen in an approximate index."""

        def nearest(self, embedding, k):
            near = super().nearest(embedding, k)
            return near if k <= 10 else Neighbours(near.scores[:, 1:], near.ids[:, 1:])

    answerer = Answerer(model, Approximate(whole.index, whole.sha256), None)
    outputs = predictor.run(np.stack([predictor.pixels(one) for one in photos]))
    few, many = (answerer.recognised(outputs, k) for k in (3, 50))
    assert [one["candidates"] for one in few] == [one["candidates"] for one in many]
    assert [len(one["neighbours"]) for one in many] == [len(LABELS) - 1] * len(photos)
    assert [len(one["neighbours"]) for one in few] == [3] * len(photos)


def test_a_recognition_joins_classifier_and_neighbours_as_the_command_does(service, place, photos, predictor):
    embedding, logits = predictor.predict(photos[:1])
    gallery = Gallery.open(place / "index", predictor.facts, embedding.shape[1])
    near = gallery.index.search(embedding, len(LABELS))
    labels, probabilities, _ = combined(
        predict.softmax(logits), near.scores.astype(np.float64), np.array(LABELS)[near.ids], 0.5, 0.1
    )
    [answer] = service.post("/recognise?k=2", photos[0]).json["answers"]
    best = np.argsort(-probabilities[0])
    assert [one["class"] for one in answer["candidates"]] == labels[best[:5]].tolist()
    np.testing.assert_allclose([one["score"] for one in answer["candidates"]], probabilities[0, best[:5]], atol=1e-6)
    assert answer["answer"] == {
        **{name: answer["candidates"][0][name] for name in ("class", "name", "score")},
        "kind": "product",
        "rule": None,
    }
    assert answer["promise"] is None
    assert [one["class"] for one in answer["neighbours"]] == [
        None if row == 5 else LABELS[row] for row in near.ids[0, :2]
    ]


def test_each_picture_of_a_request_has_its_place_and_an_unreadable_one_says_why(service, photos):
    reply = service.post_form(
        "/search?k=1", [("file", photos[3]), ("other", b"x"), ("file", b"no picture"), ("file", photos[1])]
    )
    assert reply.status == 200
    first, second, third = reply.json["answers"]
    assert (first["neighbours"][0]["class"], third["neighbours"][0]["class"]) == (2, 1)
    assert first["neighbours"][0]["score"] == pytest.approx(1, abs=1e-5)
    assert second == {"id": "1", "error": "not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image"}


def test_where_no_picture_can_be_read_the_status_says_so_too(service, photos):
    reply = service.post("/recognise", b"<html>")
    assert (reply.status, reply.code) == (422, "not_an_image")
    assert reply.json["answers"][0]["id"] == "0"
    damaged = service.post("/recognise", photos[0][: len(photos[0]) // 2])
    assert (damaged.status, damaged.code) == (422, "unreadable")


def test_pictures_of_the_index_are_got_by_class_and_by_id_as_small_jpegs(service, place, photos):
    [answer] = service.post("/search?k=6", photos[3]).json["answers"]
    urls = {one["picture"] for one in answer["neighbours"]}
    assert len(urls) == 6
    for url in urls:
        picture = service.get(url)
        assert (picture.status, picture.headers["content-type"]) == (200, "image/jpeg")
        assert picture.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert max(Image.open(io.BytesIO(picture.body)).size) <= 512
    second_of_class_2 = service.get("/product/2/picture/1")
    assert second_of_class_2.headers["cache-control"] == "private, no-cache"
    shown = np.asarray(Image.open(io.BytesIO(second_of_class_2.body)), int)
    differences = [np.abs(shown - np.asarray(Image.open(io.BytesIO(one)), int)).mean() for one in photos]
    assert int(np.argmin(differences)) == 3
    assert min(differences) < 10


@pytest.mark.parametrize(
    "path",
    [
        "/product/2/picture/2",
        "/product/2/picture/-1",
        "/product/99/picture/0",
        "/product/-1/picture/0",
        "/product/photos%2F0.jpg/picture/0",
        "/product/..%2F..%2Fetc%2Fpasswd/picture/0",
        "/product/%2Fetc%2Fpasswd/picture/0",
        "/product/shelf%2F0%20%3Cb%3E/picture/1",
        "/product/" + "9" * 400 + "/picture/0",
    ],
)
def test_what_is_neither_a_class_nor_an_id_is_not_found(service, path):
    reply = service.get(path)
    assert (reply.status, reply.code) == (404, "not_found")


def test_a_path_of_the_server_is_no_id(service, place):
    for file in (place / "photos" / "0.jpg", place / "exported" / "model.json"):
        assert service.get(f"/product/{urllib.parse.quote(str(file), safe='')}/picture/0").status == 404


def test_a_picture_whose_file_is_gone_is_told_without_its_path(service, place, photos):
    file = place / "photos" / "4.jpg"
    kept = file.read_bytes()
    file.unlink()
    try:
        reply = service.get("/product/7/picture/0")
    finally:
        file.write_bytes(kept)
    assert reply.status == 404
    assert str(place) not in reply.body.decode()


def test_names_are_text_in_json_and_no_answer_can_be_taken_for_a_page(service, photos):
    reply = service.post("/recognise", photos[2])
    assert "<script>alert(1)</script>" in {one["name"] for one in reply.json["answers"][0]["candidates"]}
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_info_says_what_is_served_and_its_limits(service):
    told = service.get("/info").json
    assert told["model"]["name"] == "tiny0"
    assert (told["model"]["classes"], told["model"]["dim"], told["model"]["input_px"]) == (NUM_CLASSES, 8, [16, 16])
    assert told["index"] == {"images": 6, "classes": 4}
    assert told["limits"] == {"bytes": 10_000_000, "megapixels": 25.0, "pictures": 16}


@pytest.mark.parametrize("k", ["0", "101", "-1", "1.5", "x", ""])
def test_k_out_of_its_range_is_refused(service, photos, k):
    assert service.post(f"/search?k={k}", photos[0]).code == "wrong_parameter"


def test_thresholds_of_the_index_decide_and_are_promised(service, place, photos, tmp_path):
    """A family of two, where the neighbours of the product are not near enough."""
    [before] = service.post("/recognise", photos[0]).json["answers"]
    best, second = (one["class"] for one in before["candidates"][:2])
    thresholds = {
        "format": 1,
        "max_wrong": 0.05,
        "confidence": 0.95,
        "max_false_accept": 0.1,
        "coverage": 0.6,
        "search": {"k": 10, "weight": 0.5, "temperature": 0.1},
        "rules": [
            {"kind": "product", "size": 1, "conditions": [{"score": "nearest", "at_least": 2.0}]},
            {"kind": "family", "size": 1, "conditions": [{"score": "joined", "at_least": 0.1}]},
        ],
        "groups": {str(best): "drinks", str(second): "drinks"},
        "checkpoint_sha256": predict.load(place / "exported").facts["checkpoint_sha256"],
        "index_sha256": index_hash(place / "index"),
    }
    index = Path(shutil.copytree(place / "index", tmp_path / "index"))
    (index / "thresholds.json").write_text(json.dumps(thresholds))
    with served(Source(model=place / "exported", index=index, decoders=1)) as promised:
        promise = {"max_wrong": 0.05, "confidence": 0.95, "max_false_accept": 0.1, "coverage": 0.6}
        assert promised.get("/info").json["promise"] == promise
        [answer] = promised.post("/recognise", photos[0]).json["answers"]
        assert answer["promise"] == promise
        assert answer["candidates"] == before["candidates"]
        assert (answer["answer"]["kind"], answer["answer"]["family"]) == ("family", "drinks")
        assert answer["answer"]["classes"] == [best, second]
        assert answer["answer"]["rule"] == "family: joined >= 0.1"
        assert 'shelfmark_answers_total{kind="family"} 1.0' in promised.get("/metrics").body.decode()
        # Learned with another index, they say nothing of this one.
        (index / "thresholds.json").write_text(json.dumps({**thresholds, "index_sha256": "0" * 64}))
        asyncio.run_coroutine_threadsafe(promised.service.reload(), promised.server._loop).result(120)
        assert promised.get("/info").json["promise"] is None


def test_an_export_in_fewer_bits_promises_nothing_that_was_learned_in_fp32(place, caplog):
    model = ExportedModel(predict.load(place / "exported"))
    thresholds = {
        "format": 1,
        "max_wrong": 0.01,
        "confidence": 0.95,
        "rules": [{"kind": "product", "size": 1, "conditions": [{"score": "softmax", "at_least": 0.5}]}],
        "checkpoint_sha256": model.facts["checkpoint_sha256"],
        "index_sha256": None,
    }
    for precision in ("fp32", "int8"):
        model.predictor.facts.update(thresholds=thresholds, precision=precision)
        assert (promise_of(model, None, None) is None) == (precision == "int8")
    assert "an export in int8 has other scores" in caplog.text


def test_without_an_index_the_classifier_answers_alone_and_search_says_why_it_does_not(place, photos, predictor):
    with served(Source(model=place / "exported", decoders=1)) as alone:
        [answer] = alone.post("/recognise", photos[0]).json["answers"]
        chances = predict.softmax(predictor.predict(photos[:1])[1])[0]
        assert answer["answer"]["class"] == int(chances.argmax())
        assert answer["answer"]["name"] == CLASS_NAMES[int(chances.argmax())]
        assert answer["answer"]["score"] == pytest.approx(float(chances.max()), abs=1e-6)
        assert "neighbours" not in answer
        assert alone.post("/search", photos[0]).code == "no_index"
        assert alone.post("/recognise?explain=1", photos[0]).code == "no_explanation"
        assert alone.get("/info").json["explains"] is False
        assert alone.get("/product/0/picture/0").status == 404


def test_an_index_of_another_model_is_not_served(place, tmp_path):
    other = json.loads((write_exported(tmp_path / "other", seed=1) / "model.json").read_text())
    with pytest.raises(UserError, match="another model"):
        Gallery.open(place / "index", other, 8)
