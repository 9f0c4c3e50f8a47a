"""`hlml evaluate RUN`: a saved run's metrics, on every split that has labels."""

from __future__ import annotations

from hlml import saved


def main(argv: list[str]) -> int:
    words = saved.parser("evaluate", "score a run's weights on valid and test")
    run = saved.find(words.parse_intermixed_args(argv))
    data, task = run.open()
    from hlml.evaluation import evaluate
    from hlml.report import scores_table

    scores = {
        split: evaluate(task, data, split, run.precision)
        for split in ("valid", "test")
        if data.has_labels(split)
    }
    print(f"{run.checkpoint}\n{scores_table(scores)}")
    return 0
