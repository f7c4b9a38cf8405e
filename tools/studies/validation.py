"""Was the check right? Predictions beside the gains of finished runs."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adaptive_dist.method.check import estimates

RULES = ("soba", "anograd", "dds")

def pair_row(pair: str, checked: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    "A row of the validation: what `check.json` says, and the mean gains in rows of a `results.csv` of one target; none without runs."
    def of(method, name):
        return {r["seed"]: r[name] for r in results if r["method"].split("+")[0] == method and r[name] is not None}
    def gain(name, baselines):
        methods = [m for m in RULES if of(m, name)]
        def best(seed): return min(of(b, name).get(seed, np.inf) for b in baselines)
        found = [float(np.mean([best(s) - loss for s, loss in of(m, name).items()])) for m in methods]
        return float(np.mean(found)) if found else None
    return {"pair": pair, "examples": checked["specific"], "answer": checked["answer"], "predicted": checked["predicted_gain"],
            "agreement": checked["agreement"]["full"]["value"], "contrast": max(e["value"] for e in checked["contrast"]["gain"].values()),
            "learnability": checked["learnability"]["value"], "share_of_run": checked["cost"]["share"],
            "seeds": len(of("soba", "specific_loss")), "gain": gain("specific_loss", ["uniform"]),
            "gain_after_fine_tuning": gain("fine_tuned_specific_loss", ["uniform", "mixing"])}

def validation(pairs: Sequence[Mapping[str, Any]], seed: int = 0) -> tuple[Any, str]:
    """A scatter plot of predicted against realised gains, and what there is to say: how many pairs, rank correlations with bootstrap
    intervals over pairs, and the pairs where the answer was wrong."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    figure, lines, rng = Figure(figsize=(10, 3.6), layout="constrained"), [], np.random.default_rng(seed)
    known = [p for p in pairs if p["gain"] is not None]
    lines.append(f"{len(pairs)} pairs checked, {len(known)} of them with finished runs.")
    for ax, (name, title) in zip(figure.subplots(1, 2), (("gain", "over uniform sampling"), (
            "gain_after_fine_tuning", "after fine-tuning, over the better of uniform and mixing")), strict=True):
        some = [p for p in known if p[name] is not None]
        for answer, colour in (("yes", "C0"), ("perhaps", "C1"), ("no", "C3")):
            mine = [p for p in some if p["answer"] == answer]
            ax.plot([p["predicted"] for p in mine], [p[name] for p in mine], "o", color=colour, label=answer)
        for p in some: ax.annotate(str(known.index(p) + 1), (p["predicted"], p[name]), (4, 3), textcoords="offset points", fontsize=7)
        ax.axhline(0, color="k", lw=.6)
        ax.set(xlabel="predicted gain, per step", ylabel="mean gain of the adaptive rules", title=title.replace(", ", ",\n"))
        ax.legend()
        x, y = (np.array([p[k] for p in some]) for k in ("predicted", name))
        if len(some) < 6: lines.append(f"Gain {title}: {len(some)} pairs are too few for a correlation.")
        else:
            draws = rng.integers(len(some), size=(1000, len(some)))
            e = estimates.estimate(estimates.rank_correlation(x, y), [estimates.rank_correlation(x[d], y[d]) for d in draws])
            lines.append(f"Rank correlation with the gain {title}: {e.value:.2f} (95 % {e.low:.2f} to {e.high:.2f}, {len(some)} pairs).")
    names = [Line2D([], [], ls="", label=f"{k} {p['pair']}") for k, p in enumerate(known, 1)]
    figure.legend(handles=names, loc="outside right center", handlelength=0, handletextpad=0, fontsize=7)
    wrong = [p for p in known if (p["answer"] == "yes") != (p["gain"] > 0) and p["answer"] != "perhaps"]
    lines += [f"Wrong: {p['pair']}, answer {p['answer']}, gain {p['gain']:+.3f}." for p in wrong] or ["No answer of yes or no was wrong."]
    return figure, "\n".join(lines)
