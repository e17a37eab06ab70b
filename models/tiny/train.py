"""Train the tokenizer and the small Llama of models/tiny on its corpus and write the Hugging Face folder.

    python -m models.tiny.train --out DIR

It takes 11 minutes of CPU time on one thread of a 2-core Xeon (15 on the clock while others used it).
The tokenizer and the order of the batches follow from the seed alone. The weights do not: float sums differ
between CPUs and torch versions, so another machine trains an equally good model with other bits. The shipped
model.safetensors is the record; its sha256 is in models/tiny/README.md.

The shape is awkward on purpose. Neither the hidden width, the FFN, the vocabulary nor the number of layers
is a power of two, three query heads share a key/value head, and the LM head is its own matrix, so a chip that
etches this model cannot hide an alignment assumption. Training needs the `test` extra, for transformers.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from models.tiny.corpus import stories

SEED = 20
HELD_OUT_SEED = 10_001
TRAIN_STORIES = 40_000
TOKENIZER_STORIES = 4_000  # the first of TRAIN_STORIES
HELD_OUT_STORIES = 200

UNK_ID, BOS_ID, EOS_ID = 0, 1, 2
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")  # their ids are their places
PROMPT = "Once upon a time"

VOCAB_SIZE = 397  # prime: 3 special tokens, 256 bytes, 138 merges
CONTEXT = 256  # tokens; the longest stories of the corpus need all of it
ARCHITECTURE: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 132,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": VOCAB_SIZE,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": BOS_ID,
    "eos_token_id": EOS_ID,
    "torch_dtype": "float32",
}
BATCH = 16  # rows of CONTEXT tokens
PEAK_LR = 6e-3
WARMUP_STEPS = 100
INIT_STD = 0.08  # transformers' 0.02 suits widths of 1,000 and more


def train_tokenizer() -> Tokenizer:
    """A byte-level BPE: all 256 bytes are tokens, so any text encodes. `<s>` goes before every text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(stories(TOKENIZER_STORIES, SEED), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS_ID)]
    )
    if tokenizer.get_vocab_size() != VOCAB_SIZE:
        raise ValueError(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, not {VOCAB_SIZE}")
    return tokenizer


def encode(tokenizer: Tokenizer, n: int, seed: int) -> list[list[int]]:
    """n stories as token ids, each `<s>` ... `</s>`."""
    return [[*item.ids, EOS_ID] for item in tokenizer.encode_batch(list(stories(n, seed)))]


def batches(encoded: list[list[int]], rng: random.Random) -> Iterator[torch.Tensor]:
    """Endless (BATCH, CONTEXT) int64. A row is a story drawn at random, then as much of others as fits."""
    while True:
        rows = torch.empty(BATCH, CONTEXT, dtype=torch.int64)
        for row in rows:
            ids: list[int] = []
            while len(ids) < CONTEXT:
                ids += encoded[int(rng.random() * len(encoded))]
            row[:] = torch.tensor(ids[:CONTEXT])
        yield rows


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up to PEAK_LR, then a half cosine to a hundredth of it."""
    if step < WARMUP_STEPS:
        return PEAK_LR * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return PEAK_LR * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(model: LlamaForCausalLM, encoded: list[list[int]], steps: int) -> None:
    """AdamW on next-token cross entropy; decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    gains = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}], betas=(0.9, 0.98)
    )
    source = batches(encoded, random.Random(SEED))
    start_s = time.monotonic()
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        rows = next(source)
        loss = model(input_ids=rows, labels=rows).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == steps - 1:
            print(
                f"step {step:5d}  loss {loss.item():.4f}  wall_s {time.monotonic() - start_s:.0f}", flush=True
            )


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, encoded: list[list[int]]) -> float:
    """Perplexity per token over whole stories, `</s>` included, each story in a context of its own."""
    model.train(False)
    total, count = 0.0, 0
    for ids in (story[:CONTEXT] for story in encoded):
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]  # (T - 1, vocab_size)
        total += torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum").item()
        count += len(ids) - 1
    return math.exp(total / count)


@torch.no_grad()
def greedy(model: LlamaForCausalLM, ids: list[int], max_new_tokens: int) -> list[int]:
    """`ids` and their greedy continuation, up to and without `</s>`. Ties go to the lowest id."""
    model.train(False)
    ids = list(ids)
    for _ in range(min(max_new_tokens, CONTEXT - len(ids))):
        token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if token == EOS_ID:
            break
        ids.append(token)
    return ids


def write_folder(out: Path, model: LlamaForCausalLM, tokenizer: Tokenizer) -> None:
    """The five files that Hugging Face loaders read, without the versions that save_pretrained adds."""
    out.mkdir(parents=True, exist_ok=True)
    records: dict[str, dict[str, object]] = {
        "config.json": ARCHITECTURE,
        "generation_config.json": {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "do_sample": False},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "model_max_length": CONTEXT,
        },
    }
    for name, record in records.items():
        (out / name).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    tokenizer.save(str(out / "tokenizer.json"))
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Train, write the folder, print what README.md records."""
    parser = argparse.ArgumentParser(description="Train the checkpoint of models/tiny.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=5_000)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    print(f"seed {SEED}")
    tokenizer = train_tokenizer()
    model = LlamaForCausalLM(LlamaConfig.from_dict(ARCHITECTURE | {"initializer_range": INIT_STD}))
    print(f"parameters {sum(p.numel() for p in model.parameters())}")
    train(model, encode(tokenizer, TRAIN_STORIES, SEED), args.steps)
    write_folder(args.out, model, tokenizer)

    held_out = encode(tokenizer, HELD_OUT_STORIES, HELD_OUT_SEED)
    print(
        f"longest story {max(map(len, held_out))} tokens, mean {sum(map(len, held_out)) / len(held_out):.0f}"
    )
    print(f"perplexity {perplexity(model, held_out):.4f} on {HELD_OUT_STORIES} held-out stories")
    print(tokenizer.decode(greedy(model, tokenizer.encode(PROMPT).ids, CONTEXT)))


if __name__ == "__main__":
    main()
