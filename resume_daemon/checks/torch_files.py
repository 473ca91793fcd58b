"""Torch archives and pickles: checksums of every record, and what loading them would call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.formats.known_globals import Judgement, judge
from resume_daemon.layouts.base import Format, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

CHECKSUM_MISMATCH = Code(
    "RD303",
    "checksum-mismatch",
    Severity.ERROR,
    "A record's bytes do not match their checksum",
    "torch.save stores a CRC-32 of every record; the bytes on disk are not the ones it wrote. "
    "torch.load does not check this, so training resumes with the damage.",
    "Resume from an earlier checkpoint, and look at the disk: this is damage at rest or in the "
    "write path.",
    "torch serialization.py: records are ZIP entries with CRC-32; measured: a flipped bit in the "
    "optimizer state, the trainer resumes",
)
CHECKSUMS_OFF = Code(
    "RD304",
    "checksums-off",
    Severity.INFO,
    "The file was written without checksums",
    "Every record fails its CRC-32, which is what torch.serialization.set_crc32_options(False) "
    "leaves behind. Damage in this file cannot be seen at first sight.",
    "Leave checksums on: they cost next to nothing.",
    "torch 2.13 serialization.py: set_crc32_options",
)
UNKNOWN_CALL = Code(
    "RD305",
    "pickle-unknown-call",
    Severity.ERROR,
    "Loading a file would call something that is not known to be harmless",
    "torch.load (without weights_only) and pickle.load run whatever the file names. This name is "
    "in none of the libraries that honest checkpoints use.",
    "Find out who wrote the file. If the name is your own code, add it to verify.allow_globals.",
    "CVE-2025-32434 and the documentation of pickle",
)
DANGEROUS_CALL = Code(
    "RD306",
    "pickle-dangerous",
    Severity.ERROR,
    "A file names something that can run commands",
    "No honest checkpoint needs it. Loading this file may run a program of somebody else's choice.",
    "Do not load it. Keep it as evidence, and find out where it came from.",
    "the same names that picklescan and fickling refuse",
)
OWN_CLASS = Code(
    "RD307",
    "pickle-own-class",
    Severity.INFO,
    "A file names a class of your own",
    "The training arguments are an object of a class that is not in a known library, usually the "
    "script's own. The module must be importable when the file is loaded.",
    "Nothing to do.",
)
CARRIED_CODE = Code(
    "RD137",
    "carried-code",
    Severity.INFO,
    "A file carries functions or classes as code",
    "What a script defines itself, such as a learning rate schedule, is saved by its code, and "
    "the trainer runs that code when it resumes. Nothing tells here whether it is the script's.",
    "Nothing to do where the file comes from your own run; do not load such a file of others.",
    "stable-baselines3 2.9 common/save_util.py: data_to_json (cloudpickle)",
)

_VERBS = {
    Judgement.OWN_CLASS: "names",
    Judgement.CARRIED_CODE: "carries code, to be put together by",
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each record that fails its checksum and each name that loading calls."""
    for file in sorted(evidence.contents):
        yield from _checksums(file, evidence)
        yield from _references(file, evidence)


def _checksums(file: str, evidence: Evidence) -> Iterator[Finding]:
    scan = evidence.scans.get(file)
    if scan is None or not scan.records:
        return
    failed = [record for record in scan.records if record.expected != record.actual]
    if not failed:
        return
    # One record alone proves nothing of the option: a small file may have a single large record.
    if len(failed) == len(scan.records) and len(failed) > 1:
        yield CHECKSUMS_OFF.finding(f"{file}: none of {len(failed)} checksums holds", file=file)
        return
    severity = (
        Severity.WARNING
        if evidence.parts[file].role in {Role.ARGUMENTS, Role.OTHER}
        else Severity.ERROR
    )
    yield CHECKSUM_MISMATCH.finding(
        f"{file}: {len(failed)} of {len(scan.records)} records do not match their checksum, "
        f"the first is {failed[0].name}",
        file=file,
        severity=severity,
    )


def _references(file: str, evidence: Evidence) -> Iterator[Finding]:
    judged = {
        reference: judge(reference, evidence.allowed)
        for reference in evidence.contents[file].references
    }
    # Only stable-baselines3 keeps functions in its checkpoints by design.
    if evidence.parts[file].format is not Format.ZIP:
        judged = {
            reference: Judgement.DANGEROUS if judgement is Judgement.CARRIED_CODE else judgement
            for reference, judgement in judged.items()
        }
    for judgement, code in (
        (Judgement.DANGEROUS, DANGEROUS_CALL),
        (Judgement.CARRIED_CODE, CARRIED_CODE),
        (Judgement.UNKNOWN_CALL, UNKNOWN_CALL),
        (Judgement.OWN_CLASS, OWN_CLASS),
    ):
        names = sorted({f"{r.module}.{r.name}" for r, j in judged.items() if j is judgement})
        if names:
            verb = _VERBS.get(judgement, "would use")
            yield code.finding(f"{file} {verb} {', '.join(names[:5])}", file=file)
