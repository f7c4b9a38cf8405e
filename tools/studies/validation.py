"""Was the check right? Predictions beside the gains of finished runs."""
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from adaptive_dist.method.check.estimates import estimate, rank_correlation

RULES = ("soba", "anograd", "dds")
COLOURS = {"yes": "C0", "perhaps": "C1", "no": "C3"}
GAINS = {"gain": "over uniform sampling",
         "gain_after_fine_tuning": "after fine-tuning, over the better of uniform and mixing"}
Rows = Sequence[Mapping[str, Any]]

def losses(results: Rows, method: str, name: str) -> dict[int, float]:
    "A loss of a method by seed, where it is known."
    return {r["seed"]: r[name] for r in results
            if r["method"].split("+")[0] == method and r[name] is not None}

def mean_gain(results: Rows, name: str, baselines: Sequence[str]) -> float | None:
    "Gain of the rules over the best baseline with the same seed: mean over seeds, then over rules."
    found = []
    for own in (losses(results, rule, name) for rule in RULES):
        if own:
            best = {seed: min(losses(results, b, name).get(seed, np.inf) for b in baselines)
                    for seed in own}
            found.append(float(np.mean([best[seed] - loss for seed, loss in own.items()])))
    return float(np.mean(found)) if found else None

def pair_row(pair: str, checked: Mapping[str, Any], results: Rows) -> dict[str, Any]:
    """A row of the validation: what `check.json` says, and mean gains; none without runs.

    `results` are the rows of a `results.csv` of one target.
    """
    return {
        "pair": pair, "examples": checked["specific"], "answer": checked["answer"],
        "predicted": checked["predicted_gain"],
        "agreement": checked["agreement"]["full"]["value"],
        "contrast": max(e["value"] for e in checked["contrast"]["gain"].values()),
        "learnability": checked["learnability"]["value"], "share_of_run": checked["cost"]["share"],
        "seeds": len(losses(results, "soba", "specific_loss")),
        "gain": mean_gain(results, "specific_loss", ["uniform"]),
        "gain_after_fine_tuning": mean_gain(
            results, "fine_tuned_specific_loss", ["uniform", "mixing"])}

def draw_gains(ax: Any, known: Rows, name: str) -> None:
    "Predicted against realised gains, coloured by answer; points have the numbers of their pairs."
    for answer, colour in COLOURS.items():
        mine = [p for p in known if p["answer"] == answer and p[name] is not None]
        ax.plot([p["predicted"] for p in mine], [p[name] for p in mine], "o", color=colour,
                label=answer)
    for number, p in enumerate(known, 1):
        if p[name] is not None:
            ax.annotate(str(number), (p["predicted"], p[name]), (4, 3),
                        textcoords="offset points", fontsize=7)
    ax.axhline(0, color="k", lw=.6)
    ax.set(xlabel="predicted gain, per step", ylabel="mean gain of the adaptive rules",
           title=GAINS[name].replace(", ", ",\n"))
    ax.legend()

def correlation(known: Rows, name: str, rng: np.random.Generator) -> str:
    "The rank correlation of predicted with realised gains, with a bootstrap interval over pairs."
    some = [p for p in known if p[name] is not None]
    if len(some) < 6:
        return f"Gain {GAINS[name]}: {len(some)} pairs are too few for a correlation."
    x, y = (np.array([p[column] for p in some]) for column in ("predicted", name))
    draws = rng.integers(len(some), size=(1000, len(some)))
    e = estimate(rank_correlation(x, y), [rank_correlation(x[d], y[d]) for d in draws])
    return (f"Rank correlation with the gain {GAINS[name]}: {e.value:.2f} "
            f"(95 % {e.low:.2f} to {e.high:.2f}, {len(some)} pairs).")

def wrong_answers(known: Rows) -> Iterator[str]:
    "The pairs of which the check said yes or no, and runs the opposite."
    for p in known:
        if p["answer"] != "perhaps" and (p["answer"] == "yes") != (p["gain"] > 0):
            yield f"Wrong: {p['pair']}, answer {p['answer']}, gain {p['gain']:+.3f}."

def validation(pairs: Rows, seed: int = 0) -> tuple[Any, str]:
    """A scatter plot of predicted against realised gains, and what there is to say of it.

    That is how many pairs there are, rank correlations, and where the answer was wrong.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    figure, rng = Figure(figsize=(10, 3.6), layout="constrained"), np.random.default_rng(seed)
    known = [p for p in pairs if p["gain"] is not None]
    for ax, name in zip(figure.subplots(1, 2), GAINS, strict=True):
        draw_gains(ax, known, name)
    names = [Line2D([], [], ls="", label=f"{k} {p['pair']}") for k, p in enumerate(known, 1)]
    figure.legend(handles=names, loc="outside right center", handlelength=0, handletextpad=0,
                  fontsize=7)
    return figure, "\n".join([
        f"{len(pairs)} pairs checked, {len(known)} of them with finished runs.",
        *(correlation(known, name, rng) for name in GAINS),
        *(list(wrong_answers(known)) or ["No answer of yes or no was wrong."])])
