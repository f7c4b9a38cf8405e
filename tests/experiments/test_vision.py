"""The vision task.

A run on a user's own pictures, the same numbers on any mesh, and the paper's settings on rows of
their schema.
"""
import io
import json
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest
from devices import on_devices
from own_texts import finish, result, start
from PIL import Image

from adaptive_dist.cli import main
from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.settings import change
from adaptive_dist.data.images import prepare_images
from adaptive_dist.experiments import vision
from adaptive_dist.experiments.vision import VISION
from adaptive_dist.method.problem import guarded
from adaptive_dist.report.grid import configured, variants
from adaptive_dist.train.experiment import first_batches, step_flops
from adaptive_dist.train.reference_methods import generic_reader

TINY = dict(
    batch_size=8, downsampling=4, steps=6, log_every=2, evaluate_every=4, evaluate_examples=16,
    image_size=8, caption_length=16, patch=4, tower="vit", text="transformer", layers=1, width=16,
    heads=2, text_layers=1, text_width=16, embedding=8, weighting_width=4, weighting_patch=4,
    shift=1, fine_tune_steps=2, fine_tune_every=1, fine_tune_rates=1, tensorboard=False,
    train_per_class=8, valid_per_class=4, test_per_class=8, generic_test=.2)
OWN = dict(generic="world", specific="classes")
CDS = dict(cds_steps=2, cds_fine_tune_steps=1)


def flags(**changes):
    "Settings as the command line has them."
    found = []
    for name, value in changes.items():
        words = name.replace("_", "-")
        found += [f"--no-{words}"] if value is False else [f"--{words}", str(value)]
    return found


@pytest.fixture(autouse=True)
def folder(workplace):
    """A working folder.

    Pictures of two colours in classes/, 100 captioned ones and six that cannot be used in world/.
    """
    rng = np.random.default_rng(0)

    def draw(path, tint):
        noise = rng.integers(0, 100, (12, 10, 3), np.uint8)
        Image.fromarray(noise + np.uint8(tint)).save(path)

    for name, tint in {"red": [150, 0, 0], "blue": [0, 0, 150]}.items():
        Path("classes", name).mkdir(parents=True)
        for i in range(20):
            draw(f"classes/{name}/{i}.png", tint)
    Path("world").mkdir()
    for i in range(100):
        draw(f"world/{i}.png", rng.integers(0, 150, 3))
    Path("world/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0, and no more")
    lines = ["image,caption,label"]
    lines += [f"{i}.png,picture {i},{'some' if i < 70 else 'others'}" for i in range(100)]
    lines += ["broken.jpg,a picture,some", *(f"gone{i}.png,a picture,some" for i in range(2))]
    lines += [f"{i}.png,,some" for i in range(3)]
    Path("world/captions.csv").write_text("\n".join([*lines, ""]))
    return workplace


def tiny(**changes):
    "A small configuration on the pictures of the working folder."
    return change(VISION.presets["reduced"], **{**TINY, **OWN, **changes})


def run(out, **changes):
    "The exit status of such a run from the command line."
    switches = flags(**{**TINY, **OWN, **changes})
    return main(["run", "vision", *switches, "--out", out, "--quiet"])


@pytest.mark.slow
def test_a_run_on_own_pictures(capsys):
    assert run("out", method="classifier") == 0
    assert capsys.readouterr().out.startswith("classifier: specific loss ")
    found = result("out")
    assert found["task"] == "vision" and found["target_label"] == "classes"
    assert found["picked_share"].keys() == {"classes", "some", "others"}
    assert found["picked_share"]["classes"] == 0
    for name in ("accuracy", "fine_tuned_accuracy"):
        assert 0 <= found[name] <= 100
    for name in ("specific_loss", "generic_loss", "fine_tuned_specific_loss"):
        assert 0 < found[name] < 10


@pytest.mark.slow
def test_a_guard_judges_held_out_pictures_by_the_contrastive_loss():
    experiment = VISION.build(tiny(method="dds", keep_general=.5))
    params, key = jax.jit(experiment.init_params)(jax.random.key(0)), jax.random.key(1)
    batch = first_batches(experiment)[1]
    own, rest = ({name: x[some] for name, x in batch.items()} for some in (slice(4), slice(4, 8)))
    held_out = {image.tobytes() for image in experiment.data.generic_test["image"]}
    assert all(np.asarray(image).tobytes() in held_out for image in rest["image"])
    losses = guarded(experiment.task, 4).specific(params, batch, key)
    np.testing.assert_allclose(losses[:4], experiment.task.specific(params, own, key), rtol=1e-5)
    np.testing.assert_allclose(losses[4:], experiment.task.generic(params, rest, key), rtol=1e-5)
    assert run("out", method="dds", keep_general=.5) == 0
    assert np.isfinite([result("out")["specific_loss"], result("out")["generic_loss"]]).all()


@pytest.mark.slow
@pytest.mark.parametrize("method, own", [
    ("sama", {}), ("mates", {}), ("greats", dict(candidates=2, judge_width="none")),
    ("greats", dict(candidates=2, judge_width=8)),
    ("online_cds", dict(candidates=2, judge_width=8)),
    ("cds", dict(cds_width=8, cds_steps=3, cds_fine_tune_steps=2))])
def test_methods_that_look_at_losses_or_gradients_run_on_pictures(method, own):
    assert run("out", method=method, fine_tune_steps=0, **own) == 0
    assert 0 < result("out")["specific_loss"] < 10


def test_what_cannot_be_used_is_reported():
    report = prepare_images(tiny().data).report
    lost = {reason: kind["count"] for reason, kind in report["left out"]["generic"].items()}
    assert lost == {"does not decode": 1, "no such file": 2, "no caption": 3}
    assert report["classes"] == ["blue", "red"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dds", "soba", "mixing", "cds"])
def test_losses_and_picks_do_not_depend_on_the_number_of_devices(method):
    own = CDS if method == "cds" else {}
    meshes = [flags(**{**TINY, **OWN, **own, "method": method, "mesh": mesh})
              for mesh in ("data=1", "data=2", "data=4")]
    alone, *others = on_devices(4, "vision", meshes, steps=3)
    assert len({tuple(rows) for rows in alone["picked"]}) == 3
    for other in others:
        assert other["picked"] == alone["picked"]
        for name in ("losses", "specific_loss", "generic_loss"):
            assert other[name] == pytest.approx(alone[name], rel=1e-4)


REFUSED = {
    "microbatches": (dict(microbatches=2),
                     "--microbatches 2: a contrastive loss needs its whole batch"),
    "curvature": (dict(curvature_rows=.5, method="soba"),
                  "--curvature-rows 0.5: a contrastive loss needs its whole batch"),
    "linear layer": (dict(head="linear", method="dds"),
                     "--head linear: generic training never moves that layer, so dds"),
    "patch": (dict(patch=3), "--patch 3 must divide --image-size 8"),
    "weighting patch": (dict(weighting_patch=9), "--weighting-patch 9 exceeds --image-size 8"),
    "heads": (dict(heads=3), "--heads 3 must divide --width 16"),
    "heads of text": (dict(text_width=9), "--heads 2 must divide --text-width 9"),
    "groups": (dict(tower="resnet", width=20),
               "--width 20 must be a multiple of 8 with --tower resnet"),
    "few pictures": (dict(batch_size=64), "the generic set has"),
    "one class": (dict(specific="classes/red"), "holds pictures of 1 classes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_end_with_one_line(case, capsys):
    changes, essential = REFUSED[case]
    assert run("deep/out", **changes) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and essential in said and not Path("deep").exists()


def test_a_linear_layer_serves_methods_that_train_it():
    for method in ("mixing", "uniform"):
        assert VISION.build(tiny(head="linear", method=method))
    with pytest.raises(UsageError):
        VISION.build(tiny(head="linear", method="soba"))


def test_every_method_and_target_of_the_studies_is_a_configuration():
    for study in VISION.studies.values():
        assert set(study.targets) <= set(VISION.targets)
        preset = VISION.preset(study.preset)[1]
        for choice in (c for v in variants(study.methods) for c in v.choices):
            vision.check_fit(configured(preset, choice))


def test_noise_has_the_form_of_the_data():
    noise, real = vision.synthetic_vision(tiny(), classes=2), VISION.build(tiny())
    for kind in ("generic", "specific"):
        shapes = [{name: (x.shape, x.dtype) for name, x in getattr(e, kind).at(0, 1).items()}
                  for e in (noise, real)]
        assert shapes[0] == shapes[1]


@pytest.mark.slow
def test_contrastive_selection_scores_do_not_depend_on_the_block():
    data = prepare_images(tiny().data)
    components = vision.vision_components(tiny(), data)
    params = components.init_params(jax.random.key(0))
    batch = generic_reader(tiny(), data).at(0, 1)
    rows = {name: x[0] for name, x in batch.items()}
    loss = jax.jit(components.example_loss)
    whole = loss(params, rows)
    for k in range(2):
        half = loss(params, {name: x[k::2] for name, x in rows.items()})
        np.testing.assert_allclose(whole[k::2], half, rtol=1e-5)


@pytest.mark.slow
def test_held_out_numbers_are_means_over_all_rows():
    data, config = prepare_images(tiny().data), tiny()
    components = vision.vision_components(config, data)
    params = components.init_params(jax.random.key(1))
    model = vision.Towers(config.model, 2)
    test, captions = data.specific_test, vision.class_captions(data.specific_train)
    images = np.float64(model.apply(params, test["image"], method="images"))
    texts = np.float64(model.apply(params, captions, method="texts"))
    logits = 5*images @ texts.T  # the scale of class logits before any specific training
    wanted = np.mean([np.log(np.exp(x).sum()) - x[k]
                      for x, k in zip(logits, test["class"], strict=True)])
    right = np.mean(logits.argmax(1) == test["class"])
    assert components.specific_loss(params, test) == pytest.approx(wanted, rel=1e-4)
    assert components.measures(params, test) == {"accuracy": pytest.approx(100*right)}
    assert abs(components.generic_loss(params, data.generic_test) - np.log(8)) < 3


def add_to(tar, name, content):
    "A file of this name and content in a tar archive."
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def copies(tmp_path):
    "YFCC15M as tar shards and ImageNet67 as class folders, a few small pictures of each."
    rng = np.random.default_rng(0)

    def jpeg():
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(file, "jpeg")
        return file.getvalue()

    (tmp_path/"yfcc15m").mkdir()
    for shard in range(2):
        with tarfile.open(tmp_path/f"yfcc15m/{shard:05}.tar", "w") as tar:
            for i in range(30):
                key, caption = f"{shard:05}{i:04}", f"A photo of {i}"
                facts = {"caption": caption, "url": "https://example.org/1.jpg",
                         "status": "success"}
                add_to(tar, f"{key}.jpg", jpeg())
                add_to(tar, f"{key}.json", json.dumps(facts).encode())
                add_to(tar, f"{key}.txt", caption.encode())
    for k in range(67):
        of_class = tmp_path/f"imagenet67/class_{k:02}"
        of_class.mkdir(parents=True)
        for i in range(4):
            (of_class/f"n{k:04}_{i}.JPEG").write_bytes(jpeg())
    return dict(
        generic=str(tmp_path/"yfcc15m"), specific=str(tmp_path/"imagenet67"),
        cache=str(tmp_path/"cache"), generic_test=.2, batch_size=4, downsampling=2, image_size=32,
        workers=2)


def test_the_papers_preset_builds_on_rows_of_its_schema(copies):
    preset = VISION.presets["paper"]
    held_out = preset.data.valid_per_class + preset.data.test_per_class
    assert (preset.data.train_per_class, held_out) == (30, 50)
    config = change(preset, **copies)
    experiment = VISION.build(config)
    assert experiment.target == "imagenet67"
    assert set(experiment.labels) == {"imagenet67", "00000", "00001"}
    batch = experiment.generic.at(0, 2)
    assert batch["image"].shape == (2, 8, 32, 32, 3)
    assert bytes(batch["tokens"][0, 0]).rstrip(b"\0").startswith(b"A photo of ")
    report = prepare_images(config.data).report
    for part, rows in {"train": 2*67, "valid": 67, "test": 67}.items():
        assert report[f"specific_{part}"]["rows"] == rows


@pytest.mark.slow
def test_the_papers_step_compiles():
    """At the paper's sizes, but for a sixteenth of its batch.

    A specific loss encodes the 67 captions of the classes as well.
    """
    config = change(VISION.presets["paper"], batch_size=64)
    plain, adaptive = (
        step_flops(vision.synthetic_vision(change(config, method=method), classes=67))
        for method in ("uniform", "soba"))
    weights = 12*config.model.layers*config.model.width**2
    assert 64*196*6*weights < plain < 64*(196 + 128)*8*weights
    assert 2.5 < adaptive/plain < 5


@pytest.mark.slow
def test_a_comparison_writes_accuracies():
    switches = flags(**{**TINY, **OWN, "fine_tune_steps": 1})
    grid = ["--methods", "uniform,dds", "--seeds", "1", "--targets", "", "--jobs", "1"]
    status, _, err = finish(
        start("compare", "vision", *switches, *grid, "--out", "found", "--quiet"), 600)
    assert status == 0, err
    head, *rows = Path("found/results.csv").read_text().splitlines()
    wanted = {"measure/accuracy", "measure/fine_tuned_accuracy", "picked_share/some"}
    assert len(rows) == 2 and wanted <= set(head.split(","))
    assert "accuracy" in Path("found/table.md").read_text()
