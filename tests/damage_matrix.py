"""Every layout times every file times every damage: what each cell of the matrix gives.

Three checkpoints of each layout are built and verified one after another, as a daemon does; then
one file of the last is damaged, and it is verified anew beside the two before it. A cell is *seen*
where the verdict is not ``sound``. One that is not seen stands in ``UNSEEN`` with the reason why
nothing at first sight could see it, and a cell that stands there and is seen is a mistake of that
list.
"""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.findings import Verdict
from resume_daemon.formats.content import Content, Format
from resume_daemon.formats.registry import read
from resume_daemon.formats.zstd_frames import MAGIC
from resume_daemon.layouts.registry import layout_of, list_checkpoint
from resume_daemon.verification import References, verify
from tests import checkpoints
from tests.layouts import builders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from resume_daemon.manifest import Manifest
    from resume_daemon.verification import Verification

STEPS: Final = (10, 20, 30)


@dataclass(frozen=True)
class Site:
    """Where a damage is done.

    Attributes:
        file: The file in the last checkpoint.
        before: The same file of the checkpoint before; it may not be there.
        other: The same file of a checkpoint of the same step with other shapes; likewise.
        encoding: How the file is encoded.
    """

    file: Path
    before: Path
    other: Path
    encoding: Format


def _missing(site: Site) -> None:
    site.file.unlink()


def _empty(site: Site) -> None:
    site.file.write_bytes(b"")


def _cut_by_one(site: Site) -> None:
    site.file.write_bytes(site.file.read_bytes()[:-1])


def _cut_in_half(site: Site) -> None:
    content = site.file.read_bytes()
    site.file.write_bytes(content[: len(content) // 2])


def _zero_tail(site: Site) -> None:
    content = site.file.read_bytes()
    kept = len(content) // 2
    site.file.write_bytes(content[:kept] + bytes(len(content) - kept))


def _flipped_bit(site: Site) -> None:
    """Flip a bit in the middle of the largest stretch of values, record, or else of the file."""
    raw = bytearray(site.file.read_bytes())
    place = len(raw) // 2
    if site.encoding is Format.ARRAY_DATA:
        frames = [0, *(match.start() for match in re.finditer(re.escape(MAGIC), raw)), len(raw)]
        begin, end = max(pairwise(frames), key=lambda each: each[1] - each[0])
        place = (begin + end) // 2
    elif site.encoding is not Format.DCP_SHARD:
        try:
            content = read(site.file, site.encoding)
        except ResumeDaemonError:
            content = Content()
        places = [(span.begin, span.end) for span in content.spans]
        places += [(record.begin, record.end) for record in content.records]
        if places:
            begin, end = max(places, key=lambda each: each[1] - each[0])
            place = (begin + end) // 2
    if raw:
        raw[place] ^= 1
    site.file.write_bytes(raw)


def _other_step(site: Site) -> None:
    if site.before.exists():
        site.file.write_bytes(site.before.read_bytes())


def _other_shape(site: Site) -> None:
    if site.other.exists():
        site.file.write_bytes(site.other.read_bytes())


def _wrong_type(site: Site) -> None:
    if site.file.name.endswith(".json") or site.encoding is Format.JSON:
        site.file.write_text("[]", encoding="utf-8")


DAMAGES: Final[dict[str, Callable[[Site], None]]] = {
    "missing": _missing,
    "empty": _empty,
    "cut by one byte": _cut_by_one,
    "cut in half": _cut_in_half,
    "zero tail": _zero_tail,
    "flipped bit": _flipped_bit,
    "other step's file": _other_step,
    "other shape": _other_shape,
    "wrong JSON type": _wrong_type,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One damage of one file, and what came of it.

    ``codes`` are of the findings above info; None in ``reason`` means that the cell is seen.
    """

    builder: str
    file: str
    damage: str
    verdict: Verdict
    codes: tuple[str, ...]

    @property
    def seen(self) -> bool:
        """Whether anybody is told that something is wrong."""
        return self.verdict is not Verdict.SOUND

    @property
    def name(self) -> str:
        """How ``UNSEEN`` refers to it."""
        return f"{self.builder} | {self.file} | {self.damage}"

    @property
    def reason(self) -> str | None:
        """Why nothing could see it, or None where the list does not say."""
        return next((why for pattern, why in UNSEEN if re.fullmatch(pattern, self.name)), None)


@contextmanager
def _other_shapes() -> Iterator[None]:
    """Let the builders write a model of half the width."""
    kept = dict(checkpoints.SHAPES)
    narrow = {name: (*shape[:-1], shape[-1] // 2) for name, shape in kept.items()}
    checkpoints.SHAPES.update(narrow)
    try:
        yield
    finally:
        checkpoints.SHAPES.update(kept)


def judged(checkpoint: Path, before: list[Manifest]) -> Verification:
    """Verify a checkpoint after those before it, the newest first."""
    return verify(checkpoint, boundary=checkpoint.parent, references=References.after(before, None))


def healthy(home: Path, builder: str) -> tuple[list[Path], list[Verification]]:
    """Build three checkpoints in ``home/run`` and verify them one after another."""
    build = builders()[builder]
    paths = [build(home / "run", step) for step in STEPS]
    found: list[Verification] = []
    for path in paths:
        before = [each.manifest for each in reversed(found) if each.manifest is not None]
        found.append(judged(path, before))
    return paths, found


def matrix(home: Path, builder: str) -> Iterator[Cell]:
    """Yield every cell of a builder; a damage that changes nothing gives none.

    Args:
        home: An empty directory.
        builder: Its name.
    """
    paths, found = healthy(home, builder)
    last, previous = paths[-1], paths[-2]
    before = [each.manifest for each in reversed(found[:-1]) if each.manifest is not None]
    with _other_shapes():
        other = builders()[builder](home / "other", STEPS[-1])
    listing = list_checkpoint(last, boundary=last.parent)
    earlier = list_checkpoint(previous, boundary=previous.parent)
    different = list_checkpoint(other, boundary=other.parent)
    layout = layout_of(listing)
    assert layout is not None
    parts = layout.parts(listing)
    # Files of another step may have other names, and those of a store of arrays are random.
    same_place = dict(zip(sorted(listing), sorted(earlier), strict=True))
    same_part = dict(zip(sorted(listing), sorted(different), strict=True))
    for name in sorted(listing):
        file = listing.root / name
        site = Site(
            file,
            earlier.root / same_place[name],
            different.root / same_part[name],
            parts[name].format,
        )
        kept = home / "kept"
        shutil.copy2(file, kept)
        for damage, do in DAMAGES.items():
            do(site)
            if not file.exists() or file.read_bytes() != kept.read_bytes():
                yield _cell(builder, name, damage, last, before)
            shutil.copy2(kept, file)


def _cell(builder: str, file: str, damage: str, checkpoint: Path, before: list[Manifest]) -> Cell:
    try:
        result = judged(checkpoint, before)
    except ResumeDaemonError:
        # There is no checkpoint any more: its only file is gone, or nothing is recognised.
        return Cell(builder, file, damage, Verdict.INCOMPLETE, ())
    codes = tuple(sorted({f.code for f in result.findings if f.severity.value != "info"}))
    return Cell(builder, file, damage, result.verdict, codes)


_NO_CHECKSUM = "safetensors has no checksum: one low bit of one value looks like any other value"
_NO_MARK = (
    "a whole and healthy file of the same form: nothing in it says of which step it is, and it may "
    "well be the same at two steps"
)
_FEWER = "as after a resume on fewer devices; how many there were is recorded nowhere"
_ALONE = "the only file, whole and of one moment; a tag may be ahead of what the engine counts"
_UNMARKED = "without its marker it is a state of accelerate's, of the same names and files"
_NOT_STATE = "it is no part of the training state: a resume does not read it"
_OTHER_COPY = "the weights are there a second time, and whole; a resume takes either"
_TEXT = "still a document of its form: another letter or digit, which nothing repeats"
_NOT_COMPARED = (
    "a description of shapes beside no values; the files that hold the values are compared"
)

_LAST = "as after the last epoch, which has none; that it is not there is told as an information"
_PLAIN_PICKLE = "a plain pickle has no checksum: another value looks like any other"

_NO_FRAME_CHECKSUM = (
    "Orbax asks Zstandard for no checksum: a frame that still decodes to plausible values is like "
    "any other"
)
_FEW_ZEROS = "a chunk has no checksum, and a few zeros are values like any others"
_OWN_TREE = "what a process wrote for itself before all were merged; a restore does not read it"
_COMMITTED_TWICE = "the time of the commit is in _CHECKPOINT_METADATA, too; a restore asks for none"
_SHAPES_TWICE = "the arrays say their shapes themselves; a restore does without"

UNSEEN: Final[tuple[tuple[str, str], ...]] = (
    (r"stable-baselines3.* \| .*\.pkl \| flipped bit", _PLAIN_PICKLE),
    (r".* \| .*\.safetensors \| flipped bit", _NO_CHECKSUM),
    (
        r"huggingface-torch-legacy \| (?:pytorch_model\.bin|optimizer\.pt) \| flipped bit",
        _PLAIN_PICKLE,
    ),
    (r".* \| (?:.*/)?(?:tokenizer|tokenizer_config|adapter_config)\.json \| flipped bit", _TEXT),
    (r".* \| .*\.index\.json \| other shape", _NOT_COMPARED),
    (r".*zero3 \| zero_pp.*_model_states\.pt \| other shape", _NOT_COMPARED),
    (r"huggingface-deepspeed \| .*_model_states\.pt \| other shape", _NOT_COMPARED),
    (r"huggingface-deepspeed \| model\.safetensors \| missing", _OTHER_COPY),
    (
        r"huggingface-fsdp-full \| model\.safetensors \| missing",
        _OTHER_COPY,
    ),
    (r".* \| .*zero_to_fp32\.py \| .*", _NOT_STATE),
    (r".* \| (?:args|tokens_state|metric)\.json \| (?:missing|other step's file)", _NOT_STATE),
    (r".* \| (?:args|tokens_state|metric)\.json \| wrong JSON type", _NOT_STATE),
    (r".* \| (?:args|tokens_state)\.json \| flipped bit", _NOT_STATE),
    (r"accelerate.* \| (?:custom_checkpoint_0\.pkl|sampler\.bin) \| other step's file", _NO_MARK),
    (r"llamafactory.* \| (?:dataloader|rng_state)/rank_\d\.pt \| other step's file", _NO_MARK),
    (r"llamafactory-ddp \| model/config\.json \| flipped bit", _TEXT),
    (r"accelerate.* \| random_states_1\.pkl \| missing", _FEWER),
    (r".* \| (?:scaler\.pt|entropy_ctrl_state\.json) \| other step's file", _NO_MARK),
    # Kept for people who want the model alone; the trainer loads its own shards.
    (r"(?:verl|skyrl).*/(?:config|generation_config)\.json \| wrong JSON type", _NOT_STATE),
    (r"verl-sft \| huggingface/(?:generation_)?config\.json \| wrong JSON type", _NOT_STATE),
    (r"(?:verl|skyrl).*huggingface/(?:tokenizer.*|generation_config\.json) \| missing", _NOT_STATE),
    (r"(?:verl|skyrl)-megatron.* \| .*huggingface/config\.json \| missing", _NOT_STATE),
    (r"verl-fsdp-export \| .*huggingface/model\.safetensors \| missing", _OTHER_COPY),
    (r"(?:verl|skyrl).* \| .*generation_config\.json \| flipped bit", _NOT_STATE),
    (r"skyrl.* \| .*lora_adapter/.* \| (?:missing|wrong JSON type)", _NOT_STATE),
    (r"verl.* \| .*lora_train_meta\.json \| (?:missing|wrong JSON type)", _NOT_STATE),
    (r"nemo-rl.* \| .*(?:tokenizer/tokenizer.*|config\.yaml) \| missing", _NOT_STATE),
    (r"nemo-rl.* \| .*\.hf_metadata/config\.json \| .*(?:missing|bit|type)", _NOT_STATE),
    (r"verl-megatron-flat \| .*transformer_config\.json \| missing", _NOT_STATE),
    (r"verl.* \| .*transformer_config\.json \| wrong JSON type", _NOT_STATE),
    (r"open-instruct-deepspeed \| (?:latest|COMPLETED) \| .*", _NOT_STATE),
    (r"open-instruct(?:-epochs)? \| COMPLETED \| .*(?:cut|empty|tail|bit).*", _NOT_STATE),
    (r"(?:verl|skyrl).* \| .*fsdp_config\.json \| missing", _NOT_STATE),
    (r"skyrl.* \| .*fsdp_config\.json \| flipped bit", _TEXT),
    (r"verl-megatron.* \| .*(?:actor/ckpt_contents|r_config)\.json \| flipped bit", _TEXT),
    (r"nemo-rl.* \| config\.yaml \| (?:cut|flipped).*", _TEXT),
    (r".* \| (?:.*/)?(?:data|data_\d|progress|sampler)\.(?:pt|bin) \| other step's file", _NO_MARK),
    (r"nemo-rl.* \| [a-z_]+\.pt \| other step's file", _NO_MARK),
    (r"prime-rl-sft \| .*dataloader/rank_\d\.pt \| other step's file", _NO_MARK),
    (r"open-instruct.* \| random_states_\d\.pkl \| other step's file", _NO_MARK),
    (r"verl-megatron.* \| .*(?:common\.pt|extra/.*distcp) \| other step's file", _NO_MARK),
    (r"open-instruct-deepspeed \| .*_model_states\.pt \| other shape", _NOT_COMPARED),
    (r"open-instruct-deepspeed \| .*_model_states\.pt \| other step's file", _NOT_COMPARED),
    (r"open-instruct(?:-epochs)? \| random_states_1\.pkl \| missing", _FEWER),
    (r"verl-sft \| data_1\.pt \| missing", _FEWER),
    (r"megatron.* \| tokenizer/tokenizer\.json \| missing", _NOT_STATE),
    (r"ms-swift-megatron-export \| config\.json \| (?:missing|flipped bit|wrong.*)", _NOT_STATE),
    (r"ms-swift-megatron-export \| model\.safetensors \| missing", _OTHER_COPY),
    (r"ms-swift-megatron-weights \| config\.json \| flipped bit", _TEXT),
    (r"torchtitan-last-export \| sharded/.* \| (?:missing|zero tail|other step.*)", _OTHER_COPY),
    (r"torchtune.* \| config\.json \| flipped bit", _TEXT),
    (r"torchtune(?:-lora)? \| original_repo_id\.json \| missing", _NOT_STATE),
    (r"torchtune.* \| original_repo_id\.json \| (?:flipped bit|wrong.*)", _NOT_STATE),
    (r"torchtune-lora \| adapter_config\.json \| (?:missing|wrong.*)", _NOT_STATE),
    (r"torchtune(?:-lora)? \| recipe_state\.pt \| missing", _LAST),
    (r"deepspeed \| mp_rank_00_model_states\.pt \| other step's file", _ALONE),
    (r"open-instruct(?:-epochs)? \| COMPLETED \| missing", _UNMARKED),
    (r"orbax.* \| (?:.*/)?commit_success\.txt \| .*", _COMMITTED_TWICE),
    (r"orbax.* \| _CHECKPOINT_METADATA \| other step's file", _NO_MARK),
    (r"orbax.* \| .*/array_metadatas/process_0 \| (?:missing|other shape)", _SHAPES_TWICE),
    (r"orbax.* \| .*/ocdbt\.process_0/manifest\.ocdbt \| .*", _OWN_TREE),
    (r"orbax.* \| .*/ocdbt\.process_0/d/[0-9a-f]{32} \| cut by one byte", _OWN_TREE),
    (r"orbax-zarr3 \| .*/ocdbt\.process_0/d/[0-9a-f]{32} \| flipped bit", _NO_FRAME_CHECKSUM),
    (r"orbax-plain.* \| .*/(?:\d+(?:\.\d)?|c(?:/0)*) \| other step's file", _NO_MARK),
    (r"orbax-plain \| .*/(?:params|opt_state.*)\.model\.norm\.weight/0 \| zero tail", _FEW_ZEROS),
    (r"orbax-plain \| .*/step/0 \| zero tail", _FEW_ZEROS),
    (r"orbax-plain \| .*/opt_state\.[mn]u\..*/0.* \| flipped bit", _NO_FRAME_CHECKSUM),
    (r"orbax-plain \| .*/params\..*(?:\.2|norm)\..*/0.* \| flipped bit", _NO_FRAME_CHECKSUM),
    (r"orbax-plain-zarr3 \| .*/[^/]*\.weight/c/.* \| flipped bit", _NO_FRAME_CHECKSUM),
    (r"torchtune-lora \| adapter_model\.safetensors \| missing", _OTHER_COPY),
)
"""Patterns of cells that nothing at first sight could see, each with the reason."""
