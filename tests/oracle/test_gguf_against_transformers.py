"""GGUF files against transformers, which reads them with readers of its own: logits, ids of texts, ids of chats."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from etchproof.checkpoint import Checkpoint, load_checkpoint
from etchproof.checkpoint.chat import chat
from etchproof.float_model.llama import FloatModel
from tests.gguf_model import TEMPLATE, Sizes, model
from tests.gguf_tokenizer import TEXTS, sentencepiece, trained

transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")

pytestmark = pytest.mark.filterwarnings("ignore")  # what transformers says while it reads a GGUF is not ours
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity(transformers.logging.CRITICAL)

VOCAB = 400
MIXED = {"attn_q": "Q4_0", "attn_k": "Q5_1", "attn_v": "Q8_0", "attn_output": "F16", "ffn_gate": "Q5_0"}


def written(folder: Path, parts: Any) -> Checkpoint:
    (folder / "drawn.gguf").write_bytes(parts.content())
    return load_checkpoint(folder / "drawn.gguf")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_logits(tied: bool, kv_heads: int, tmp_path: Path) -> None:
    sizes = Sizes(kv_heads=kv_heads, vocab=VOCAB, heads=4)
    parts = model(sizes, lambda name: MIXED.get(name.split(".")[2], "Q4_1"), tied=tied, seed=kv_heads)
    parts.metadata |= trained("smollm", VOCAB)[1]
    checkpoint = written(tmp_path, parts)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="drawn.gguf", dtype=torch.float32
    )
    tokens = torch.randint(0, VOCAB, (1, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = theirs(tokens).logits[0]
    found = FloatModel(checkpoint.config, checkpoint.tensor).forward(tokens[0])
    assert float((found - wanted).abs().max()) < 1e-4
    held = theirs.state_dict()
    for name in checkpoint.tensor_names:
        assert (held[name] == checkpoint.tensor(name)).all(), name


@pytest.mark.parametrize("pre", ["smollm", "llama-bpe", "qwen2"])
def test_ids_of_a_byte_level_tokenizer(pre: str, tmp_path: Path) -> None:
    parts = model(Sizes(vocab=VOCAB, layers=1))
    # Without a user-defined token of spaces, which transformers respells and then does not find.
    metadata = trained(pre, VOCAB, user_defined=("<think>",))[1]
    parts.metadata |= metadata | {"tokenizer.chat_template": TEMPLATE}
    found = written(tmp_path, parts).tokenizer()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="drawn.gguf")
    for text in TEXTS:
        assert found.encode(text) == theirs.encode(text), text
    for text in TEXTS[::5]:  # each starts a process
        messages = [{"role": "user", "content": text}]
        wanted = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert list(chat(text, found, datetime(2026, 2, 3)).ids) == list(wanted), text
    found.close()


def test_ids_of_a_sentencepiece_tokenizer(tmp_path: Path) -> None:
    parts = model(Sizes(vocab=VOCAB, layers=1))
    del parts.metadata["tokenizer.ggml.merges"]
    template = "{% for m in messages %}{{ bos_token }}[INST] {{ m.content }} [/INST]{% endfor %}"
    parts.metadata |= sentencepiece(VOCAB) | {"tokenizer.chat_template": template}
    found = written(tmp_path, parts).tokenizer()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="drawn.gguf")
    texts = [text for text in TEXTS if "<" not in text and not text.startswith(" ")]
    for text in texts:
        assert found.encode(text) == theirs.encode(text), text
    for text in texts[::4]:
        wanted = theirs.apply_chat_template([{"role": "user", "content": text}], return_dict=False)
        assert list(chat(text, found, datetime(2026, 2, 3)).ids) == list(wanted), text
    found.close()
