"""The settings model: what may stand in a configuration file, with every default and its reason.

The texts under the fields are what the sample file, the editor schema and the docs show.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from resume_daemon.config.fields import (
    DAY_SECONDS,
    AbsolutePath,
    AnyPattern,
    AsTuple,
    BackupAddress,
    CredentialName,
    CurriculumSchema,
    DatabaseUrl,
    EnvironmentName,
    Expression,
    FilePath,
    GlobalName,
    HttpUrl,
    Kept,
    NonEmpty,
    RunPattern,
    Seconds,
    Section,
    SinkName,
    Steps,
)


class Watch(Section):
    """How the run directory is watched and when a checkpoint counts as complete."""

    backend: Literal["auto", "inotify", "polling"] = "auto"
    """Where change events come from. auto polls on network and FUSE file systems, where inotify
    is blind, and uses inotify elsewhere."""

    rescan_seconds: Seconds = 30
    """Seconds between two looks at the run that need no event. A lost event costs at most this."""

    settle_seconds: Seconds = 2
    """Seconds for which nothing in a checkpoint may change before it is read."""

    abandon_seconds: Seconds = 900
    """Seconds without a change after which a half-written checkpoint is reported as abandoned.
    Set it above the longest pause of a save."""

    poll_seconds: Seconds = 5
    """Seconds between two looks at the run where it is polled."""

    @field_validator("abandon_seconds")
    @classmethod
    def _abandoned_after_settled(cls, value: float, info: ValidationInfo) -> float:
        settle = info.data.get("settle_seconds")
        if settle is not None and value <= settle:
            raise ValueError(
                f"must be more than settle_seconds ({settle:g}), or every save would be abandoned "
                f"before it can settle; it is {value:g}"
            )
        return value


class Verify(Section):
    """How much of a checkpoint is read, and how hard the disk may be worked."""

    depth: Literal["deep", "quick"] = "deep"
    """deep reads every byte once. quick reads headers and small files only, and misses damage
    inside the weights."""

    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Files that are read at the same time."""

    read_mib_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Limit of all reads together, in MiB per second. null means no limit."""

    keep_page_cache: bool = True
    """Leave the page cache as it was found, by dropping what only these reads brought in. false
    leaves all that was read in the cache."""

    largest_growth: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 8
    """Times by which the largest value of a matrix may grow beyond those of the two checkpoints
    before while its ordinary values stand still. Above it is a warning, above its square an error;
    for vectors it is eight times as much. docs/thresholds.md has the measurements."""

    change_growth: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 100
    """Times by which a matrix may change more since the checkpoint before than between the two
    before, per step, where it is hardly the same matrix any more."""

    priority: Literal["idle", "normal"] = "idle"
    """idle lets the training go first: on processors and disks where the kernel lets us say so
    (not under the systemd unit, which says it itself), and everywhere by resting while others want
    the processors, down to half a hundredth of one. normal competes with it."""

    allow_globals: Annotated[tuple[GlobalName, ...], *AsTuple] = ()
    """Names that a pickle of this run may refer to without a finding, such as
    my_project.rewards.Reward or my_project.*. Nothing is ever loaded, whatever stands here."""


class Scrub(Section):
    """Known checkpoints are read again from time to time, and compared with their manifests.

    Disks and controllers lose bits in silence. Nothing is read while a new checkpoint waits, and
    nothing where verify.depth is quick.
    """

    enabled: bool = True
    """Read known checkpoints again."""

    interval_hours: Annotated[float, Field(gt=0, le=24 * 366)] = 168
    """Hours from one read of a checkpoint to the next. 168 is a week."""

    mib_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20
    """How fast they are read, in MiB per second."""


class Curriculum(Section):
    """The curriculum state that belongs to each checkpoint."""

    enabled: bool = True
    """Look for curriculum state and keep it with each checkpoint."""

    files: Annotated[tuple[RunPattern, ...], *AsTuple] = ()
    """Globs of the state files, relative to the run. Empty means the names that the known schemas
    use."""

    keep_versions: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Versions of each state file that are kept, newest first."""

    max_lead_steps: Steps = 0
    """Trainer steps by which the state may be ahead of its checkpoint without a finding."""

    max_lag_steps: Steps = 100
    """Trainer steps by which the state may be behind its checkpoint without a finding. Set it to
    how often your trainer writes the state."""

    schemas: Annotated[tuple[CurriculumSchema, ...], *AsTuple] = ()
    """Shapes of state files that are not known yet, one mapping each, in the form of
    resume_daemon/curriculum/schemas.yaml."""

    manager_methods: Annotated[tuple[NonEmpty, ...], *AsTuple] = ()
    """Methods that your curriculum manager has to have, with other names for the same parted by |,
    as in save_state|state_dict. Empty means those that public code has."""


class Snapshot(Section):
    """What is copied beside each verified checkpoint."""

    configuration_files: Annotated[tuple[AnyPattern, ...], *AsTuple] = ()
    """Globs of configuration files to keep with each checkpoint, relative to the run or
    absolute."""


class WandbApi(Section):
    """The W&B server, asked where the local log is behind or missing."""

    enabled: bool = False
    """Ask the server; needs entity and project. The key comes from WANDB_API_KEY or .netrc and is
    never written here."""

    entity: NonEmpty | None = None
    """The W&B entity (team or user)."""

    project: NonEmpty | None = None
    """The W&B project."""

    poll_seconds: Annotated[float, Field(ge=15, le=DAY_SECONDS)] = 60
    """Seconds between two questions. Below 15 there is nothing new: W&B itself sends every 15."""

    timeout_seconds: Seconds = 10
    """Seconds to wait for an answer."""

    @model_validator(mode="after")
    def _whom_to_ask(self) -> Self:
        if self.enabled and (self.entity is None or self.project is None):
            raise ValueError("is enabled, so it needs entity and project")
        return self


class Wandb(Section):
    """The local log of Weights & Biases."""

    enabled: bool = True
    """Read the W&B log of this run."""

    directory: FilePath | None = None
    """The directory that W&B writes its runs into (usually named wandb). null looks for it where
    trainers put it."""

    run_id: NonEmpty | None = None
    """The W&B run id to follow. null follows the runs that belong to this run directory."""

    step_key: NonEmpty | None = None
    """The logged key that holds the trainer's step, such as train/global_step. null takes the key
    that the known trainers use."""

    poll_seconds: Seconds = 5
    """Seconds between two looks at the log."""

    api: WandbApi = WandbApi()


class Trackers(Section):
    """Where the tracker's step is read."""

    wandb: Wandb = Wandb()


class TrainerLog(Section):
    """What the trainer prints, followed for lines that tell of a seam.

    Configuration sync, W&B resume, a change of curriculum stage, the loading of a checkpoint, out
    of memory, an NCCL time-out and the end of a traceback become records of kind trainer in the
    ledger.
    """

    files: Annotated[tuple[AnyPattern, ...], *AsTuple] = ()
    """Globs of log files, relative to the run or absolute. Empty follows none."""

    patterns: dict[SinkName, Expression] = Field(default={})
    """More events, each with its regular expression, such as {reward-server-down: "reward .*
    unreachable"}. One of a known name replaces ours; an empty one turns it off."""


class Drift(Section):
    """When the two steps count as drifted; logging cadence alone never does."""

    accepted_rows: Steps = 0
    """Matched drift, in rows of the tracker, that is accepted: one of at most this much raises no
    alert. Set it where a run has drifted and is to go on as it is."""


class Slack(Section):
    """A Slack channel, by an incoming webhook.

    The webhook's URL is a secret: exactly one of url_credential, url_file and url_env says where it
    is kept.
    """

    type: Literal["slack"]
    """What kind of sink this is."""

    name: SinkName
    """Its name in the ledger and in messages; each sink has its own."""

    url_credential: CredentialName | None = None
    """The name of the systemd credential that holds the URL."""

    url_file: FilePath | None = None
    """The file that holds the URL."""

    url_env: EnvironmentName | None = None
    """The environment variable that holds the URL."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _at_most_one(self, "url_credential", "url_file", "url_env", required=True)
        return self


class Webhook(Section):
    """A URL that receives each alert as JSON, signed as Standard Webhooks 1.0 describes.

    Exactly one of url, url_credential, url_file and url_env is given, and at most one of
    secret_credential, secret_file and secret_env. Without a secret nothing is signed.
    """

    type: Literal["webhook"]
    """What kind of sink this is."""

    name: SinkName
    """Its name in the ledger and in messages; each sink has its own."""

    url: HttpUrl | None = None
    """The URL, where it is no secret."""

    url_credential: CredentialName | None = None
    """The name of the systemd credential that holds the URL."""

    url_file: FilePath | None = None
    """The file that holds the URL."""

    url_env: EnvironmentName | None = None
    """The environment variable that holds the URL."""

    secret_credential: CredentialName | None = None
    """The name of the systemd credential that holds the signing secret (whsec_...)."""

    secret_file: FilePath | None = None
    """The file that holds the signing secret."""

    secret_env: EnvironmentName | None = None
    """The environment variable that holds the signing secret."""

    timeout_seconds: Seconds = 10
    """Seconds to wait for an answer to one attempt."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _at_most_one(self, "url", "url_credential", "url_file", "url_env", required=True)
        _at_most_one(self, "secret_credential", "secret_file", "secret_env", required=False)
        return self


Sink = Annotated[Slack | Webhook, Field(discriminator="type")]


class Backup(Section):
    """Copies of sound checkpoints elsewhere, which the trainer's own rotation does not reach.

    Nothing is copied while `to` is null. A backup that is kept for no reason any more is removed,
    once all that should be kept is there, read back and verified; what `resume-daemon backup` made
    for a person stays.
    """

    to: BackupAddress | None = None
    """Where backups go: a directory that is there, or a URL such as s3://bucket/prefix, without a
    password or a key."""

    newest: Kept = 1
    """How many of the checkpoints that were saved last are kept."""

    every: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Every how many sound checkpoints one is kept for longer. 0 keeps none for that."""

    keep_every: Kept = 10
    """How many of these are kept, the last first."""

    best: Kept = 1
    """How many of the best by the metric are kept."""

    metric: NonEmpty | None = None
    """The metric, as the trainer logs it, such as reward or eval_loss. null takes what the trainer
    itself calls its best checkpoint (metric_for_best_model)."""

    greater_is_better: bool | None = None
    """Whether a greater metric is better. null says yes, unless its name ends in loss."""

    hard_links: bool = False
    """Link files where the file system cannot clone them. It takes no room, but a trainer that
    writes into a file again, as one that trains a step again does, changes the backup too."""

    mib_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Limit of reads and writes together, in MiB per second. null means that of
    verify.read_mib_per_second."""


class Resume(Section):
    """How `exec` starts the trainer."""

    arguments: Annotated[tuple[NonEmpty, ...], *AsTuple] = ()
    """Arguments that tell the trainer where to resume from, with {checkpoint} for the path, such as
    [trainer.resume_mode=resume_path, "trainer.resume_from_path={checkpoint}"]. They are added to a
    command in which neither {checkpoint} nor --resume_from_checkpoint stands."""

    @field_validator("arguments")
    @classmethod
    def _names_the_checkpoint(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value and not any("{checkpoint}" in each for each in value):
            raise ValueError("has no {checkpoint} in it, so it could not say where to resume from")
        return value


class Alerts(Section):
    """Who is told, and from which severity on."""

    minimum_severity: Literal["error", "warning", "info"] = "warning"
    """The least severity that is sent. Everything is in the ledger, whatever stands here."""

    sinks: Annotated[tuple[Sink, ...], *AsTuple] = ()
    """Where alerts go. Empty sends none."""

    @field_validator("sinks")
    @classmethod
    def _names_differ(cls, value: tuple[Slack | Webhook, ...]) -> tuple[Slack | Webhook, ...]:
        names = [sink.name for sink in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"has more than one sink named {', '.join(twice)}: each delivery is recorded under "
                "its sink's name, so give each its own"
            )
        return value


class Index(Section):
    """The database that makes many runs searchable; it is derived from the ledgers."""

    url: DatabaseUrl | None = None
    """SQLAlchemy URL of a fleet's shared database, without a password. null keeps an SQLite file
    beside the ledger."""


class Log(Section):
    """What the daemon says about itself, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written."""

    format: Literal["auto", "console", "json"] = "auto"
    """auto writes for people at a terminal, and JSON lines elsewhere."""


class Settings(Section):
    """Everything that can be set. Every key may be left out."""

    run: FilePath | None = None
    """The run: the output directory that the trainer writes checkpoints into."""

    name: NonEmpty | None = None
    """The run's name in alerts and reports. null takes the directory's name."""

    state_dir: AbsolutePath | None = None
    """An absolute directory below which everything that the daemon writes is kept. null keeps it
    in .resume_daemon inside the run or, where that cannot be written, in the state directory of
    the service or the user."""

    watch: Watch = Watch()
    verify: Verify = Verify()
    scrub: Scrub = Scrub()
    curriculum: Curriculum = Curriculum()
    snapshot: Snapshot = Snapshot()
    trackers: Trackers = Trackers()
    trainer_log: TrainerLog = TrainerLog()
    drift: Drift = Drift()
    backup: Backup = Backup()
    resume: Resume = Resume()
    alerts: Alerts = Alerts()
    index: Index = Index()
    log: Log = Log()

    @field_validator("backup")
    @classmethod
    def _proved_by_digests(cls, value: Backup, info: ValidationInfo) -> Backup:
        verify = info.data.get("verify")
        if value.to is not None and verify is not None and verify.depth != "deep":
            raise ValueError("needs verify.depth to be deep: its digests are what proves a backup")
        return value


def _at_most_one(sink: Slack | Webhook, *fields: str, required: bool) -> None:
    """Refuse a sink that names several places for one value, or none where one is needed."""
    given = [field for field in fields if getattr(sink, field) is not None]
    if len(given) > 1:
        raise ValueError(f"has {' and '.join(given)}: give only one of them")
    if required and not given:
        raise ValueError(f"needs one of {', '.join(fields)}")
