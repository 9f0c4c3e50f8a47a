"""What a run leaves behind while it trains: TensorBoard, metrics.csv, pictures, and the terminal.

Processes other than the first get a `Logbook(None)`: it takes every call and writes nothing.
"""

from __future__ import annotations

import csv
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlml.run_folder import flatten

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

Scalars = dict[str, float]


class Logbook:
    """Writes the scalars, text and figures of one run folder.

    `columns` are the names of all scalars that will come: the header of metrics.csv. `step` is
    where a resumed run goes on: what was logged after it is cut.
    """

    def __init__(
        self, folder: Path | None, columns: list[str] | None = None, step: int = 0
    ) -> None:
        self.folder, self.step, self._resumed_at = folder, step, step
        self._writer: SummaryWriter | None = None
        self._pending: Scalars = {}
        self._columns = ["step", "seconds", *(columns or [])]
        self._started = time.monotonic()
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._rows = _earlier_rows(folder / "metrics.csv", step)
        if self._rows:
            self._started -= self._rows[-1].get("seconds", 0.0)
            if self._rows[-1]["step"] == step:  # its validation may be what the resume begins with
                self._pending = self._rows.pop()
        partial = folder / "metrics.partial"  # renamed when whole: a kill must not lose the past
        self._file = partial.open("w", newline="", encoding="utf-8")
        self._csv = csv.DictWriter(self._file, self._columns, extrasaction="ignore")
        self._csv.writeheader()
        self._csv.writerows(self._rows)
        self._file.flush()
        partial.replace(folder / "metrics.csv")

    @property
    def writer(self) -> SummaryWriter | None:
        """TensorBoard's writer, made at first use: importing it costs what a short run takes."""
        if self._writer is None and self.folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            purge = self._resumed_at + 1 if self._resumed_at else None
            self._writer = SummaryWriter(str(self.folder), purge_step=purge, flush_secs=10)
            self._writer.add_custom_scalars(_layout(self._columns))
        return self._writer

    @property
    def history(self) -> list[Scalars]:
        """Every row of metrics.csv so far: what the learning curves are drawn from."""
        self._flush_row()
        return self._rows if self.folder is not None else []

    def scalars(self, step: int, values: Scalars) -> None:
        """Log values of one step; calls for the same step share a row of metrics.csv."""
        if self.writer is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        # one event for all: add_scalar makes one each, and takes four times as long
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        events = self.writer.file_writer
        assert events is not None
        events.add_summary(Summary(value=points), step)
        if self._pending and self._pending["step"] != step:
            self._flush_row()
        self._pending |= {"step": step, "seconds": self.seconds, **values}

    def figure(self, name: str, figure: Figure) -> None:
        """Keep a matplotlib figure as figures/NAME.png and in TensorBoard."""
        if self.folder is None or self.writer is None:
            return
        path = self.folder / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
        self.image(name, path)

    def picture(self, name: str, pixels: Any) -> None:
        """Keep pixels (H, W) or (H, W, 3) uint8 as figures/NAME.png and in TensorBoard."""
        import numpy as np
        from PIL import Image

        if self.folder is None:
            return
        path = self.folder / "figures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(pixels)).save(path)
        self.image(name, path)

    def embedding(
        self, name: str, vectors: Tensor, labels: list[str], pictures: Tensor | None = None
    ) -> None:
        """Vectors (N, D) for TensorBoard's projector, each with a label, and maybe its picture.

        `pictures` (N, C, S, S) uint8 are what the points are drawn as.
        """
        if self.folder is None or self.writer is None:
            return
        # where TensorBoard puts it: a run that is resumed at its end would find it there
        shutil.rmtree(self.folder / f"{self.step:05}" / name, ignore_errors=True)
        colour = None if pictures is None else pictures.expand(-1, 3, -1, -1).float().cpu() / 255
        self.writer.add_embedding(vectors.float().cpu(), labels, colour, self.step, name)

    def image(self, name: str, path: Path) -> None:
        """Show a picture that lies on disk in TensorBoard."""
        import numpy as np
        from PIL import Image

        if self.writer is not None:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self.writer.add_image(name, pixels, self.step, dataformats="HWC")

    def audio(self, name: str, wave: Tensor, rate: int) -> None:
        """Let TensorBoard play `wave` (samples,) in -1..1, with `rate` samples a second."""
        if self.writer is not None:
            self.writer.add_audio(name, wave.float().cpu().clamp(-1, 1)[None], self.step, rate)

    def text(self, name: str, markdown: str) -> None:
        if self.writer is not None:
            self.writer.add_text(name, markdown, self.step)

    def hparams(self, config: dict[str, Any], metrics: Scalars) -> None:
        """The config and the final metrics for TensorBoard's hparams page, in this very folder."""
        if self.writer is not None and metrics:
            # run_name ".": without it add_hparams opens a second run in a folder of its own
            flat = {name: _plain(value) for name, value in flatten(config).items()}
            named = {f"hparam/{name}": value for name, value in metrics.items()}
            self.writer.add_hparams(flat, named, run_name=".", global_step=self.step)

    def flush(self) -> None:
        """Put everything logged so far on disk: called before each checkpoint."""
        if self.folder is not None:
            self._flush_row()
            self._file.flush()

    def close(self) -> None:
        self.flush()
        if self._writer is not None:
            self._writer.close()
        if self.folder is not None:
            self._file.close()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return round(time.monotonic() - self._started, 3)

    def _flush_row(self) -> None:
        if self._pending:
            self._rows.append(self._pending)
            self._csv.writerow(self._pending)
            self._pending = {}


def _plain(value: Any) -> bool | int | float | str:
    """add_hparams refuses None and lists."""
    return value if isinstance(value, bool | int | float | str) else str(value)


def _layout(columns: list[str]) -> dict[str, dict[str, list[Any]]]:
    """TensorBoard's custom scalars: train and valid of one quantity on one chart."""
    charts: dict[str, list[Any]] = {}
    for name in columns:
        split, _, quantity = name.partition("/")
        if split == "valid":
            both = [n for n in (f"train/{quantity}", name) if n in columns]
            charts[quantity] = ["Multiline", both]
    return {"train and valid": charts}


def _earlier_rows(path: Path, step: int) -> list[Scalars]:
    """The rows a resumed run keeps: those up to the checkpoint's step."""
    if not step or not path.exists():
        return []
    rows: list[Scalars] = []
    with path.open(newline="", encoding="utf-8") as file, suppress(ValueError):  # a cut-off line
        rows.extend(
            {k: float(v) for k, v in row.items() if k and v} for row in csv.DictReader(file)
        )
    return [{**row, "step": int(row["step"])} for row in rows if row.get("step", step + 1) <= step]
