"""What is read off the user's curriculum code without running it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.curriculum.module_checks import HOOKS, CodeReport, judge_code
from resume_daemon.curriculum.modules import module_of
from resume_daemon.errors import FormatError
from resume_daemon.formats.python_source import parse_source

WHOLE = """
class Base:
    def save_state(self): return {}
    def load_state(self, state): self.stage = state["stage"]

class StageManager(Base):
    def get_current_stage_dataset(self): return self.data[self.stage]
    def should_advance_stage(self, value): return value > 1
    def advance_to_next_stage(self): self.stage += 1
"""


def judged(*sources: str, asked_for: bool = False) -> CodeReport:
    modules = [
        module_of(parse_source(dedent(source).encode(), Path(f"{n}.py")), f"{n}.py")
        for n, source in enumerate(sources)
    ]
    return judge_code(modules, asked_for=asked_for)


def told(report: CodeReport) -> list[tuple[str, str]]:
    return [(each.code, each.severity.value) for each in report.findings]


def test_inherited_methods_count() -> None:
    report = judged(WHOLE)
    assert [each.name for each in report.managers] == ["StageManager"]
    assert report.findings == ()


def test_a_base_of_another_file_counts() -> None:
    base, manager = WHOLE.split("\nclass StageManager")
    assert judged(base, "class StageManager" + manager).findings == ()


def test_the_names_that_public_code_gives_count() -> None:
    source = """
    class EnhancedCurriculumManager:
        def get_current_stage_dataset(self): return 1
        def should_advance_to_next_stage(self, loss, step): return loss < step
        def advance_stage(self): self.stage += 1
        def get_curriculum_state(self): return {}
        def load_curriculum_state(self, state): self.state = state
    """
    assert judged(source).findings == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("pass", "does nothing"),
        ("...", "does nothing"),
        ("'''Load it.'''", "does nothing"),
        ("raise NotImplementedError", "only raises NotImplementedError"),
        ("raise NotImplementedError('later')", "only raises NotImplementedError"),
    ],
)
def test_a_method_that_does_nothing_yet_is_told(body: str, words: str) -> None:
    report = judged(WHOLE.replace('self.stage = state["stage"]', body))
    assert told(report) == [("RD514", "warning")]
    assert words in report.findings[0].message
    assert "0.py line 4" in report.findings[0].message


def test_a_method_that_is_overridden_is_judged_by_what_overrides_it() -> None:
    source = WHOLE.replace('self.stage = state["stage"]', "raise NotImplementedError")
    source += "    def load_state(self, state): self.stage = 3\n"
    assert judged(source).findings == ()


def test_an_abstract_manager_and_a_stand_in_for_a_failed_import_are_no_managers() -> None:
    source = """
    from abc import ABC, abstractmethod
    try:
        from project import CurriculumManager
    except ImportError:
        class CurriculumManager:
            def save_state(self): pass

    class AbstractCurriculumManager(ABC):
        @abstractmethod
        def save_state(self): ...
    """
    report = judged(source)
    assert report.managers == ()
    assert report.findings == ()


def test_what_one_of_several_managers_lacks_is_no_warning_where_another_is_whole() -> None:
    partial = "class OldCurriculumManager:\n    def save_state(self): return 1\n"
    report = judged(WHOLE, partial)
    assert {severity for _, severity in told(report)} == {"info"}
    assert len(report.findings) == 4


CALLBACK = """
class CurriculumCallback(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        self.history.append(logs)
        self._save_curriculum_state()

    def _save_curriculum_state(self):
        json.dump({}, open("curriculum_state_detailed.json", "w"))
"""


def test_a_state_that_is_saved_and_loaded_nowhere_is_told() -> None:
    report = judged(CALLBACK)
    assert told(report) == [("RD515", "warning")]
    assert report.callbacks[0].has == ("on_log",)
    loads = CALLBACK + "    def on_train_begin(self, *a, **k): self.manager.load_state(k)\n"
    assert judged(loads).findings == ()
    assert judged(CALLBACK, "manager.load_curriculum_state({})").findings == ()
    assert told(judged(CALLBACK, "buffer.load_buffer_state({})")) == [("RD515", "warning")]


def test_another_callback_is_not_the_curriculums() -> None:
    other = CALLBACK.replace("Curriculum", "Timing").replace("curriculum", "timing")
    assert judged(other).callbacks == ()


def test_files_that_were_asked_for_and_hold_no_manager_are_told() -> None:
    assert told(judged("x = 1", asked_for=True)) == [("RD517", "info")]
    assert judged("x = 1").findings == ()


def test_hooks_are_those_of_the_trainer() -> None:
    assert {"on_save", "on_train_begin", "on_evaluate", "on_step_end"} <= set(HOOKS)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_python_or_refused(source: bytes) -> None:
    with suppress(FormatError):
        report = judge_code([module_of(parse_source(source, Path("x.py")), "x.py")])
        assert all(finding.code.startswith("RD51") for finding in report.findings)


def test_classes_made_from_each_other_come_to_an_end() -> None:
    source = (
        "class A(B):\n def save_state(self): return 1\nclass B(A):\n def load_state(self): return 1"
    )
    assert judged(source).managers == ()
