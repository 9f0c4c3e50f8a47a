"""`hlml predict RUN`: the answers of a saved run as the file to hand in."""

from __future__ import annotations

from pathlib import Path

from hlml import saved
from hlml.errors import UserError


def main(argv: list[str]) -> int:
    words = saved.parser("predict", "write the test split's answers in the course's format")
    words.add_argument("--output", help="the file to write (default: in the run folder)")
    args = words.parse_args(argv)
    run = saved.find(args)
    data, task = run.open()
    from hlml.evaluation import predict

    output = Path(args.output) if args.output else run.folder / data.answers_name
    answers = predict(task, data, "test", run.precision)
    try:
        data.write_answers(answers, output)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from error
    print(f"{len(answers)} answers in {output}")
    return 0
