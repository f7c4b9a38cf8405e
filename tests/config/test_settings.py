"""Settings are checked in type, choice and limit, and say the same from Python as from a shell."""
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pytest

from adaptive_dist.config.arguments import Parser, add_settings, from_arguments
from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.settings import (
    RENAMED,
    change,
    check,
    from_nested,
    result_settings,
    setting,
    settings,
)

@dataclass(frozen=True)
class Selection:
    "How rows are drawn."
    filter: Literal["gumbel_top_k", "uniform"] = setting("gumbel_top_k", "how rows are drawn")
    generic_rows: int | None = setting(None, "rows looked at (count); none: all", at_least=1)
    share: float = setting(.5, "share of rows (0 to 1)", above=0, at_most=1)

@dataclass(frozen=True)
class Wider(Selection):
    "A group with a setting more."
    width: int = setting(8, "its width (channels)", at_least=1)

@dataclass(frozen=True)
class Run:
    "A run."
    steps: int = setting(10, "steps (count)", at_least=1)
    name: str = setting("run", "its name")
    quiet: bool = setting(False, "say nothing", affects_result=False)
    selection: Selection = field(default_factory=Selection)

def refusal(**changes: Any) -> str:
    "What `check` says of a run with these settings."
    with pytest.raises(UsageError) as caught:
        check(change(Run(), **changes))
    return str(caught.value)

def refusal_of_flags(*flags: str) -> str:
    "What the command line says of these flags."
    parser = Parser("try", add_help=False)
    add_settings(parser, Run())
    with pytest.raises(UsageError) as caught:
        from_arguments(Run(), vars(parser.parse_args(flags)))
    return str(caught.value)

@pytest.mark.parametrize(("changes", "said"), [
    ({"steps": "10"}, "--steps '10': must be a whole number"),
    ({"steps": 10.5}, "--steps 10.5: must be a whole number"),
    ({"steps": True}, "--steps True: must be a whole number"),
    ({"steps": None}, "--steps None: must be a whole number"),
    ({"steps": np.float64(3)}, "--steps 3.0: must be a whole number"),
    ({"steps": np.int32(0)}, "--steps 0: must be at least 1; it is the steps (count)"),
    ({"generic_rows": "all"}, "--generic-rows 'all': must be a whole number or none"),
    ({"share": "half"}, "--share 'half': must be a number"),
    ({"share": np.float32(np.inf)},
     "--share inf: must be a finite number; it is the share of rows (0 to 1)"),
    ({"share": 0}, "--share 0: must be above 0; it is the share of rows (0 to 1)"),
    ({"share": 1.5}, "--share 1.5: must be at most 1; it is the share of rows (0 to 1)"),
    ({"name": 3}, "--name 3: must be text"),
    ({"quiet": 1}, "--quiet 1: must be True or False"),
    ({"filter": "gumble"}, "--filter 'gumble': must be one of gumbel_top_k, uniform; "
                           "did you mean gumbel_top_k?"),
    ({"filter": None}, "--filter None: must be one of gumbel_top_k, uniform"),
])
def test_a_mistake_from_python_is_one_line(changes: dict[str, Any], said: str) -> None:
    assert refusal(**changes) == said

@pytest.mark.parametrize(("group", "kind"), [
    (3, "int"), (None, "NoneType"), (Selection, "type"), (Run(), "Run")])
def test_a_group_of_the_wrong_type_is_one_line(group: Any, kind: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(Run(selection=group))
    assert str(caught.value) == f"selection: must be of type Selection, not {kind}"

def test_what_is_right_passes() -> None:
    right = change(Run(selection=Wider(generic_rows=2, share=1)), steps=np.int64(3))
    assert check(right) is right and "width" in {f.name for f, _ in settings(right)}
    with pytest.raises(UsageError, match="--width 0: must be at least 1"):
        check(Run(selection=Wider(width=0)))

@pytest.mark.parametrize(("flags", "changes"), [
    (["--steps", "many"], {"steps": "many"}), (["--steps", "0"], {"steps": 0}),
    (["--filter", "gumble"], {"filter": "gumble"}), (["--share", "nan"], {"share": np.nan}),
    (["--generic-rows", "1.5"], {"generic_rows": "1.5"})])
def test_shell_and_python_say_the_same(flags: list[str], changes: dict[str, Any]) -> None:
    assert refusal_of_flags(*flags) == refusal(**changes)

def test_unknown_names_are_told_what_was_meant() -> None:
    assert refusal(stepps=3) == "unknown setting stepps: did you mean steps?"
    assert refusal_of_flags("--stepps", "3") == (
        "unrecognized arguments: --stepps 3; did you mean --steps? (see try --help)")
    assert refusal(colour="red") == (
        "unknown setting colour: choose from filter, generic_rows, name, quiet, share, steps")

def test_flags_are_not_abbreviated() -> None:
    assert "unrecognized arguments: --step 3" in refusal_of_flags("--step", "3")

def test_renamed_settings_say_what_to_write() -> None:
    assert refusal(judged=4) == "judged is now generic_rows: write that"
    for flags in (["--judged", "4"], ["--judged=4"]):
        assert refusal_of_flags(*flags) == "--judged is now --generic-rows: write that"
    assert "is now" not in refusal(average=.9)  # this run has no ema_decay

def test_old_results_are_read_under_the_new_names() -> None:
    old = {"steps": 3, "selection": {"judged": 4, "gone": 1}}
    assert from_nested(Run(), old) == Run(3, selection=Selection(generic_rows=4))
    assert from_nested(Run(), asdict(Run(7))) == Run(7)

def test_new_names_of_renamed_settings_exist() -> None:
    from adaptive_dist.experiments.lm import LMConfig
    from adaptive_dist.train.methods import method_names
    configs = [LMConfig(method=method) for method in method_names()]
    known = {f.name for config in configs for f, _ in settings(config)}
    assert set(RENAMED.values()) <= known and not set(RENAMED) & known

def test_what_does_not_shape_results_is_left_out() -> None:
    assert result_settings(Run(quiet=True)) == result_settings(Run())
    assert result_settings(Run())["selection"]["share"] == .5
