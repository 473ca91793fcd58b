from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import pytest

import resume_daemon.layouts as layouts_package
from resume_daemon.layouts import registry
from resume_daemon.layouts.base import Facts, Layout
from resume_daemon.layouts.huggingface import HuggingFace
from resume_daemon.layouts.registry import is_checkpoint_name, layout_of, layouts, own_layouts
from resume_daemon.listing import Entry, EntryKind, Listing
from resume_daemon.report.layouts_page import PAGE, page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ThirdParty(HuggingFace):
    """A layout of somebody else's: directories ``save_5`` with one file in them."""

    name = "third-party"

    def step_of(self, directory_name: str) -> int | None:
        prefix, _, number = directory_name.partition("_")
        return int(number) if prefix in {"save", "partial"} and number.isdigit() else None

    def is_staging(self, directory_name: str) -> bool:
        return directory_name.startswith("partial_")

    def recognises(self, listing: Listing) -> bool:
        return "everything.bin" in listing


@dataclass
class Point:
    """An entry point, as ``importlib.metadata`` gives them."""

    name: str
    load: Callable[[], Any]


def broken() -> Any:
    raise ImportError("a library is missing")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    points = [
        Point("zz-broken", broken),
        Point("third-party", lambda: ThirdParty),
        Point("huggingface", broken),
    ]
    monkeypatch.setattr(
        registry,
        "entry_points",
        lambda *, group: points if group == registry.ENTRY_POINT_GROUP else [],
    )
    layouts.cache_clear()
    yield
    layouts.cache_clear()


def listing(root: str, *names: str) -> Listing:
    return Listing(Path(root), {n: Entry(n, EntryKind.FILE, 1, 0, 0, 0) for n in names}, 0)


def name_of(root: str, *names: str) -> str | None:
    layout = layout_of(listing(root, *names))
    return layout.name if layout else None


def test_layouts_of_others_are_known_and_one_that_cannot_be_loaded_is_left_out(
    installed: None, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.ERROR):
        names = [layout.name for layout in layouts()]
    assert "huggingface" in names
    assert names[-1] == "third-party"
    assert "zz-broken" not in names
    assert "layout cannot be loaded" in capsys.readouterr().out + caplog.text


def test_a_name_decides_where_files_fit_both_and_files_where_a_name_fits_none(
    installed: None,
) -> None:
    both = ("everything.bin", "trainer_state.json")

    assert name_of("save_5", *both) == "third-party"
    assert name_of("checkpoint-5", *both) == "huggingface"
    assert name_of("best", "everything.bin") == "third-party"
    assert name_of("save_5", "trainer_state.json") == "huggingface"
    assert name_of("save_5", "nothing") == "third-party"
    assert name_of("best", "nothing") is None


def test_names_of_every_layout_are_checkpoints_and_their_staging_is_none(installed: None) -> None:
    assert is_checkpoint_name("checkpoint-5")
    assert is_checkpoint_name("save_5")
    assert not is_checkpoint_name("partial_5")
    assert not is_checkpoint_name("other-x")


def test_the_project_s_own_layout_is_there_by_itself() -> None:
    assert next(layout.name for layout in layouts()) == "huggingface"


def test_the_page_of_layouts_is_current(repository: Path) -> None:
    assert (repository / PAGE).read_text(encoding="utf-8") == page()


def test_every_layout_of_the_project_is_registered_and_states_its_facts() -> None:
    modules = {f"{each.__class__.__module__}" for each in own_layouts()}

    for module in iter_modules(layouts_package.__path__, "resume_daemon.layouts."):
        classes = vars(import_module(module.name)).values()
        if any(
            isinstance(each, type) and issubclass(each, Layout) and each.__module__ == module.name
            for each in classes
            if each is not Layout
        ):
            assert module.name in modules
    for layout in own_layouts():
        assert all(getattr(layout.facts, field.name) for field in fields(Facts)), layout.name


def test_what_a_layout_beats_exists() -> None:
    names = {layout.name for layout in own_layouts()}

    assert all(set(layout.beats) <= names for layout in own_layouts())


def test_a_folder_of_samples_beside_megatron_s_makes_no_slime(tmp_path: Path) -> None:
    (tmp_path / "rollout").mkdir()
    (tmp_path / "rollout" / "samples.jsonl").touch()
    there = Listing(
        tmp_path / "iter_0000010", listing("x", "metadata.json", ".metadata").entries, 0
    )
    found = layout_of(there)
    assert found is not None
    assert found.name == "megatron"

    (tmp_path / "rollout" / "global_dataset_state_dict_10.pt").touch()
    found = layout_of(there)
    assert found is not None
    assert found.name == "slime"
