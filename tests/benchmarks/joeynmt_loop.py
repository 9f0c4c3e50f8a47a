"""JoeyNMT's Transformer with the weights of ours, its training step and its beam search.

Its package pins a protobuf that TensorBoard refuses, so it is used where somebody has put it.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from speech import per_frame as per_token
from torch import Tensor, nn

from hlml.data.pairs import Pairs
from hlml.models.transformer import Transformer
from hlml.tokens import BEGIN, END, PAD, UNKNOWN


def installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("joeynmt", "subword_nmt"))


class Words:
    """What its models ask of a vocabulary."""

    pad_index, bos_index, eos_index, unk_index, sep_index = PAD, BEGIN, END, UNKNOWN, None
    specials: Sequence[str] = ()
    lang_tags: Sequence[str] = ()

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def joey(ours: Transformer) -> Any:
    """The same function of the same weights; ours has one vocabulary (joint)."""
    from joeynmt.model import build_model

    logging.getLogger("joeynmt.model").setLevel(logging.WARNING)
    target, first = ours.target_embedding.vectors.weight, ours.encoder[0]
    width = target.shape[1]
    side = {
        "type": "transformer",
        "hidden_size": width,
        "ff_size": first.thought[0].out_features,
        "num_layers": len(ours.encoder),
        "num_heads": first.attention.heads,
        "dropout": ours.dropout.p,
        "layer_norm": "pre",
        "embeddings": {"embedding_dim": width, "scale": True, "dropout": ours.dropout.p},
    }
    options = {"encoder": side, "decoder": side, "tied_embeddings": True, "tied_softmax": True}
    size = Words(len(target))
    theirs = build_model(options, size, size)
    same(theirs.trg_embed.lut, ours.target_embedding.vectors)
    same(theirs.encoder.layer_norm, ours.encoder_norm)
    same(theirs.decoder.layer_norm, ours.decoder_norm)
    for their, our in zip(theirs.encoder.layers, ours.encoder, strict=True):
        same(their.layer_norm, our.first_norm)
        same_looks(their.src_src_att, [our.attention.queries_keys_values], our.attention.output)
        same_thought(their.feed_forward, our.second_norm, our.thought)
    for their, our in zip(theirs.decoder.layers, ours.decoder, strict=True):
        same(their.x_layer_norm, our.norms[0])
        same_looks(their.trg_trg_att, [our.attention.queries_keys_values], our.attention.output)
        same(their.dec_layer_norm, our.norms[1])
        across = our.across
        same_looks(their.src_trg_att, [across.queries, across.keys_values], across.output)
        same_thought(their.feed_forward, our.norms[2], our.thought)
    return theirs.train(ours.training)


def same(theirs: nn.Module, ours: nn.Module) -> None:
    theirs.load_state_dict(ours.state_dict())


def same_looks(theirs: Any, inputs: list[nn.Linear], output: nn.Linear) -> None:
    weight, bias = (torch.cat([getattr(x, name) for x in inputs]) for name in ("weight", "bias"))
    parts = (theirs.q_layer, theirs.k_layer, theirs.v_layer)
    for part, weights, biases in zip(parts, weight.chunk(3), bias.chunk(3), strict=True):
        part.load_state_dict({"weight": weights, "bias": biases})
    same(theirs.output_layer, output)


def same_thought(theirs: Any, norm: nn.Module, ours: nn.Sequential) -> None:
    same(theirs.layer_norm, norm)
    same(theirs.pwff_layer[0], ours[0])
    same(theirs.pwff_layer[3], ours[2])


def joey_batch(batch: Pairs) -> dict[str, Any]:
    from joeynmt.batch import Batch

    lengths = (batch.source != PAD).sum(1)
    cpu = torch.device("cpu")
    return vars(Batch(batch.source, lengths, None, batch.target, None, batch.rows, cpu, PAD, END))


def joey_tokens(
    ours: Transformer, batches: list[Pairs], real: list[int], label_smoothing: float
) -> float:
    """Seconds a thousand real tokens: a loop of its steps over batches made beforehand, no logs."""
    from joeynmt.builders import build_optimizer

    logging.getLogger("joeynmt.builders").setLevel(logging.WARNING)
    model = joey(ours)
    model.loss_function = ("crossentropy", label_smoothing)
    optimizer = build_optimizer({"optimizer": "adam", "learning_rate": 1e-3}, model.parameters())
    batches_of_its = [joey_batch(batch) for batch in batches]
    clock = [time.perf_counter()]
    for batch in batches_of_its:
        loss = model(return_type="loss", **batch)[0]
        (loss / batch["ntokens"]).backward()
        optimizer.step()
        optimizer.zero_grad()
        clock.append(time.perf_counter())
    return per_token(clock, real)


def joey_beam(ours: Transformer, source: Tensor, longest: int, width: int) -> Callable[[], Tensor]:
    from joeynmt.search import beam_search

    model, mask = joey(ours), (source != PAD)[:, None]

    def decode() -> Tensor:
        read = model(return_type="encode", src=source, src_length=mask.sum(2)[:, 0], src_mask=mask)
        answers, _, _ = beam_search(model, width, *read[:2], mask, longest, alpha=1.0)
        return answers

    return decode
