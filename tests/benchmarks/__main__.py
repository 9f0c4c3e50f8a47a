"""`make bench`: how fast hlml is, beside loops written by hand. Writes RESULTS.md.

Ratios are what counts, so contenders take turns in one process (steps) or as fresh processes
(start-up), and a row gives the median over rounds of its ratio. Nothing here can fail a test.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from datetime import date
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: it reads this once

import augmentation
import classify
import game
import speech
import startup
import steps
import torch
import translate
from measure import Times, alternate, ratio, with_spread

RESULTS = Path(__file__).with_name("RESULTS.md")
STEP_ROUNDS, RIVAL_ROUNDS, START_ROUNDS, PICTURE_ROUNDS = 41, 7, 7, 5
IMPORT, BARE = "import torch", "bare script, first step"

HEAD = """\
# Speed

Written by `make bench` on {day}: {cores} CPU cores, Python {python}, torch {torch}, one thread.
Contenders take turns in one process; Lightning runs in its own, because importing it slows the
others, and so does every start-up. Times are medians over rounds, and so are ratios, which are of
times in the same round (in brackets: the middle half of them). Times drift with the machine and
with what else runs on it; the ratios hold.

## A training step

Homework 1's shapes: {rows} rows of {inputs} numbers, batches of {batch}, a network
{inputs}-{width}-1, mean squared error, Adam. {rounds} rounds, and {rival_rounds} for Lightning; the
set-up and the first {warm_up} steps of each do not count.

"""

STEP_ROWS = {
    "in memory": "a loop by hand, tensors in memory, fused Adam",
    "hlml": "hlml, default logging and progress bar",
    "hlml, validating": "hlml, and its default validations and checkpoints",
    "DataLoader": "a loop by hand over DataLoader(TensorDataset)",
    "Lightning": "Lightning's Trainer with its defaults{version}",
}

NO_LIGHTNING = """
Lightning is not installed here and was not measured. It stays out of the lock file; to compare:
`.venv/bin/uv pip install 'lightning>=2.6.4'`, then `make bench`.
"""

CLASSIFY = """
## A step on pictures

Homework 3's default network on {rows} pictures of {side} x {side}, batches of {batch}, Adam.
{rounds} rounds. "One by one" is what project templates do: PIL and torchvision's transforms for
each picture, collated by a DataLoader in the same process; the last two rows have the network of
the first level, two hidden layers of 256, beside which reading is not hidden by the network.

"""

CLASSIFY_ROWS = {
    "bare": "a bare loop: eager, float32, tensors in memory",
    "hlml": "hlml",
    "hlml, bf16": "hlml, trainer.precision=bf16",
    "hlml, augmented": "hlml, shift and flip",
    "one by one, augmented": "one by one, crop and flip",
    "hlml, small": "fully connected: hlml, shift and flip",
    "one by one, small": "fully connected: one by one, crop and flip",
}

GAME = """
## A step of a game

WGAN-GP on pictures of {size} x {size}, batches of {batch}, the generator at each {every}th step:
hlml, and the best loop by hand (channels last, fused Adam, no gradient that nobody uses).
{rounds} rounds.

"""

AUGMENT = """
## Augmentation

{batch} pictures of 3 x {side} x {side}: hlml's batch at once, torchvision's v2 one picture at a
time. {rounds} rounds.

"""

SPEECH = """
## Utterances in batches

A self-attention tagger on {utterances} utterances of 39 numbers a frame, {median} frames long in
the middle; {together} random ones a batch, padded to the longest, or as many of about one length
as have the same number of frames. {rounds} rounds.

"""

SPEECH_ROWS = {
    "random": "hlml, random utterances together",
    "buckets": "hlml, utterances of about one length together",
    "buckets, bare": "a loop by hand over the latter batches, made beforehand",
}

WINDOWS = """
## The window network

Homework 2's sample, 429-1024-512-128-39 with sigmoids, batches of {batch} frames. By hand: eager,
float32, all windows ready in memory, torch's default Adam. hlml joins the 11 frames as it reads
them. {rounds} rounds.

"""

TRANSLATE = """
## Pairs in batches

The default Transformer on {words} pairs as long as words and their phonemes are, {together} random
ones a batch, padded to the longest, or about as many of about one length; and on {phrases}
phrases of one to {most} words, letter by letter, {long} a batch. JoeyNMT's rows are its own model
with the same weights, its own loss and Adam, over the same batches made beforehand, without any
log. Sentences: {subwords} subwords, label smoothing {smoothing}. {rounds} rounds.

"""

TRANSLATE_ROWS = {
    "words": "words: hlml, pairs of about one length together",
    "words, random": "words: hlml, random pairs together",
    "words, JoeyNMT": "words: JoeyNMT, batches as in hlml's first row",
    "phrases": "phrases: hlml, about one length",
    "phrases, random": "phrases: hlml, random pairs",
    "phrases, JoeyNMT": "phrases: JoeyNMT, about one length",
    "sentences": "sentences: hlml, about one length",
    "sentences, JoeyNMT": "sentences: JoeyNMT, about one length",
}

DECODE = """
## Writing answers

The same Transformer, {batch} sources as long as words, answers as long as they. "Prefixes" has no
cache: it reads all that was written again for each token, in one batch, until the last answer
ends. All give the same answers. {rounds} rounds.

"""

DECODE_ROWS = {
    "greedy": "greedy: hlml",
    "greedy, prefixes": "greedy: prefixes",
    "beam": "beam of {beam}: hlml",
    "beam, prefixes": "beam of {beam}: prefixes",
    "beam, JoeyNMT": "beam of {beam}: JoeyNMT, same weights",
}

NO_JOEYNMT = """
JoeyNMT is not installed here and was not measured. It asks for an older protobuf than TensorBoard
does, so it is put elsewhere, without what it asks for; to compare:
`.venv/bin/uv pip install --no-deps --target FOLDER joeynmt==2.3.0 subword-nmt==0.3.8`, then
`PYTHONPATH=FOLDER make bench`.
"""

START = """
## From the command to the answer

Fresh processes. "First step" ends with the first optimizer update; the bare script builds the
network, makes a batch and takes one step of fused Adam, and nothing else. {rounds} rounds.

"""


def step_row(times: Times, name: str) -> str:
    own = with_spread(times, name, "in memory")
    slower = f"{ratio(times, name, 'hlml'):.1f}" if "hlml" not in name else ""
    who = STEP_ROWS[name].format(version=steps.lightning_version())
    return f"| {who} | {statistics.median(times[name]) * 1e6:.0f} | {own} | {slower} |\n"


def step_tables() -> str:
    """Lightning takes seconds a round, so it meets the others in fewer rounds of its own."""
    table = "| who | us a step | x by hand | x hlml |\n|---|---:|---:|---:|\n"
    loops = steps.contenders()
    times = alternate(loops, STEP_ROUNDS)
    table += "".join(step_row(times, name) for name in times)
    rivals = steps.rivals()
    if not rivals:
        return table + NO_LIGHTNING
    times = alternate({**rivals, **{n: loops[n] for n in ("in memory", "hlml")}}, RIVAL_ROUNDS)
    return table + "".join(step_row(times, name) for name in rivals)


def start_table(times: Times) -> str:
    lines = ["| what | seconds | x `import torch` | x bare script |", "|---|---:|---:|---:|"]
    for name, seconds in times.items():
        bare = with_spread(times, name, BARE)
        torch_only = f"{ratio(times, name, IMPORT):.2f}"
        lines.append(f"| {name} | {statistics.median(seconds):.2f} | {torch_only} | {bare} |")
    return "\n".join(lines) + "\n"


def classify_table() -> str:
    times = alternate(classify.contenders(), PICTURE_ROUNDS)
    lines = ["| who | ms a step | x bare loop | x hlml |", "|---|---:|---:|---:|"]
    for name, seconds in times.items():
        kind = next((kind for kind in ("augmented", "small") if kind in name), "")
        own = ratio(times, name, f"hlml, {kind}" if kind else "hlml")
        middle = f"{statistics.median(seconds) * 1e3:.1f}"
        around = "" if kind == "small" else with_spread(times, name, "bare")
        lines.append(f"| {CLASSIFY_ROWS[name]} | {middle} | {around} | {own:.2f} |")
    return "\n".join(lines) + "\n"


def game_table() -> str:
    times = alternate(game.contenders(), PICTURE_ROUNDS)
    lines = ["| who | ms a step | x by hand |", "|---|---:|---:|"]
    for name, seconds in times.items():
        middle = f"{statistics.median(seconds) * 1e3:.1f}"
        around = with_spread(times, name, "by hand")
        lines.append(f"| {name} | {middle} | {around} |")
    return "\n".join(lines) + "\n"


def augmentation_table() -> str:
    times = alternate(augmentation.contenders(), PICTURE_ROUNDS)
    lines = ["| what | us a picture | torchvision / hlml |", "|---|---:|---:|"]
    for what in dict.fromkeys(name.rpartition(": ")[0] for name in times):
        ours, theirs = f"{what}: hlml", f"{what}: torchvision, one by one"
        middle = f"{statistics.median(times[ours]) * 1e6:.0f}"
        around = with_spread(times, theirs, ours, digits=1)
        lines.append(f"| {what} | {middle} | {around} |")
    return "\n".join(lines) + "\n"


def picture_tables() -> str:
    """What homeworks 3 and 6 take, beside the alternatives."""
    where = {"rounds": PICTURE_ROUNDS}
    side, batch, rows = classify.SIDE, classify.BATCH, classify.ROWS
    text = CLASSIFY.format(rows=rows, side=side, batch=batch, **where) + classify_table()
    text += GAME.format(size=game.SIZE, batch=game.BATCH, every=game.EVERY, **where) + game_table()
    side, batch = augmentation.SIZE, augmentation.BATCH
    return text + AUGMENT.format(batch=batch, side=side, **where) + augmentation_table()


def speech_tables() -> str:
    """What homeworks 2 and 4 take, beside the alternatives."""
    where = {"rounds": PICTURE_ROUNDS}
    text = SPEECH.format(
        utterances=speech.UTTERANCES, median=speech.MEDIAN, together=speech.TOGETHER, **where
    )
    times = alternate(speech.contenders(), PICTURE_ROUNDS)
    text += "| who | s a million real frames | x hlml, about one length |\n|---|---:|---:|\n"
    for name, seconds in times.items():
        middle = f"{statistics.median(seconds) * 1e3:.1f}"
        text += f"| {SPEECH_ROWS[name]} | {middle} | {with_spread(times, name, 'buckets')} |\n"
    text += WINDOWS.format(batch=speech.WINDOWS, **where)
    times = alternate(speech.window_contenders(), PICTURE_ROUNDS)
    text += "| who | ms a step | by hand / it |\n|---|---:|---:|\n"
    for name, seconds in times.items():
        middle = f"{statistics.median(seconds) * 1e3:.2f}"
        text += f"| {name} | {middle} | {with_spread(times, 'by hand', name)} |\n"
    return text


def translation_tables() -> str:
    """What homework 5 takes, beside the alternatives."""
    where = {"rounds": PICTURE_ROUNDS}
    text = TRANSLATE.format(
        words=translate.PAIRS,
        together=translate.TOGETHER,
        phrases=translate.FEW_PAIRS,
        most=translate.MOST_WORDS,
        long=translate.PHRASES,
        subwords=translate.SUBWORDS,
        smoothing=translate.SMOOTHING,
        **where,
    )
    times = alternate(translate.training_contenders(), PICTURE_ROUNDS)
    text += "| who | ms a thousand real tokens | x hlml, about one length |\n|---|---:|---:|\n"
    for name, seconds in times.items():
        around = with_spread(times, name, name.partition(",")[0])
        text += f"| {TRANSLATE_ROWS[name]} | {statistics.median(seconds) * 1e3:.1f} | {around} |\n"
    text += DECODE.format(batch=translate.BATCH, **where)
    times = alternate(translate.decoding_contenders(), PICTURE_ROUNDS)
    text += "| who | ms a batch | x hlml |\n|---|---:|---:|\n"
    for name, seconds in times.items():
        who = DECODE_ROWS[name].format(beam=translate.BEAM)
        around = with_spread(times, name, name.partition(",")[0])
        text += f"| {who} | {statistics.median(seconds) * 1e3:.0f} | {around} |\n"
    return text if translate.installed() else text + NO_JOEYNMT


def main() -> None:
    torch.set_num_threads(1)
    print(f"training loops, {STEP_ROUNDS} rounds ...", flush=True)
    text = HEAD.format(
        day=date.today(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        torch=torch.__version__,
        rows=steps.ROWS,
        inputs=steps.INPUTS,
        batch=steps.BATCH,
        width=steps.WIDTH,
        warm_up=steps.WARM_UP,
        rounds=STEP_ROUNDS,
        rival_rounds=RIVAL_ROUNDS,
    )
    text += step_tables()
    print(f"pictures, {PICTURE_ROUNDS} rounds ...", flush=True)
    text += picture_tables()
    print(f"speech, {PICTURE_ROUNDS} rounds ...", flush=True)
    text += speech_tables()
    print(f"pairs of sequences, {PICTURE_ROUNDS} rounds ...", flush=True)
    text += translation_tables()
    print(text)
    with tempfile.TemporaryDirectory() as folder:
        waits = startup.contenders(Path(folder))
        print(f"{len(waits)} fresh processes, {START_ROUNDS} rounds ...", flush=True)
        tail = START.format(rounds=START_ROUNDS) + start_table(alternate(waits, START_ROUNDS))
    print(tail)
    RESULTS.write_text(text + tail, encoding="utf-8")
    print(f"Written to {os.path.relpath(RESULTS)}")


if __name__ == "__main__":
    main()
