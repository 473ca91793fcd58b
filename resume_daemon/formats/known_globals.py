"""Which of the things that a pickle names are known to be harmless, and which never are.

The allow-list holds what ``torch.save`` and ``pickle`` were seen to write for optimizers,
schedulers, scalers, random states, training arguments, sharded tensors and distributed
metadata (torch 2.13, transformers 5.23, trl 1.16, peft 0.21, accelerate 1.15, numpy 2.4); the
deny-list holds the ways in which the standard library and the field's libraries run a program,
open a connection, write a file or load another pickle. Everything else is judged by what loading
would do with it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from resume_daemon.formats.dtypes import TORCH_DTYPES, TORCH_STORAGES
from resume_daemon.formats.inert_values import COMPUTED, How

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resume_daemon.formats.inert_values import Reference


class Judgement(StrEnum):
    """What a reference means for somebody who loads the file without ``weights_only``."""

    KNOWN = "known"
    OWN_CLASS = "own-class"
    UNKNOWN_CALL = "unknown-call"
    CARRIED_CODE = "carried-code"
    DANGEROUS = "dangerous"


def judge(reference: Reference, extra: frozenset[str] = frozenset()) -> Judgement:
    """Return what is known about a reference.

    Args:
        reference: A module, a name, and what loading would do with it.
        extra: Further known things: ``module.Name``, or ``my_project.*`` for all of a package.
            What is dangerous stays dangerous.

    Returns:
        ``DANGEROUS``: it has no place in a checkpoint, however it is used. ``KNOWN``: honest
        checkpoints hold it. ``OWN_CLASS``: some class, or something merely stored, that is
        neither; its module is imported, and code of the user's own runs at most as that class's
        ``__new__`` and ``__setstate__``. ``UNKNOWN_CALL``: something else would be called.
        ``CARRIED_CODE``: a function or class is put together from code that the pickle carries.
    """
    module, name = reference.module, reference.name
    if module == COMPUTED:
        return Judgement.UNKNOWN_CALL
    if carries_code(module, name):
        return Judgement.CARRIED_CODE
    if _is_dangerous(module, name):
        return Judgement.DANGEROUS
    if _is_known(module, name, reference.how) or _matches(f"{module}.{name}", extra):
        return Judgement.KNOWN
    return Judgement.UNKNOWN_CALL if reference.how is How.CALL else Judgement.OWN_CLASS


def carries_code(module: str, name: str) -> bool:
    """Return whether something puts a function or a class together from code in the pickle."""
    return name in _CARRYING.get(module, ())


def _is_dangerous(module: str, name: str) -> bool:
    if not module or not name or not (module + name).isprintable():
        return True
    # A module re-exports what it imports: the name may lead through any of them to another.
    if not _LURKING.isdisjoint(name.split(".")) or ("__" in name and "." in name):
        return True
    full = f"{module}.{name}"
    return any(prefix in _DANGEROUS for prefix in _prefixes(full)) and not any(
        prefix in _SPARED for prefix in _prefixes(full)
    )


def _is_known(module: str, name: str, how: How) -> bool:
    if f"{module}.{name}" in _KNOWN or name in _KNOWN_NAMES.get(module, ()):
        return True
    if not all(_CAPITALIZED.fullmatch(part) for part in name.split(".")):
        return False
    if not any(prefix in _LIBRARIES for prefix in _prefixes(module)):
        return False
    return how is not How.CALL or _ENUMERATION.fullmatch(name) is not None


def _matches(full: str, patterns: Iterable[str]) -> bool:
    return any(
        full.startswith(pattern[:-1]) if pattern.endswith(".*") else full == pattern
        for pattern in patterns
    )


def _prefixes(dotted: str) -> Iterable[str]:
    """Return ``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``."""
    parts = dotted.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_CAPITALIZED: Final = re.compile(r"_?[A-Z][A-Za-z0-9_]*")

# Enumerations are pickled as a call of their class with a value; in a library they are told from
# classes with a constructor of consequence by how the field names them.
_ENUMERATION: Final = re.compile(
    r"\w*(?:Types?|Strategy|Names|Options?|Modes?|Methods?|Policy|Backend|Status|Precision|Level"
    r"|Kind|Enum|Role|Reduction|ENCODING)(?:\.\w+)?"
)

_CLOUDPICKLE: Final = _words(
    "_make_function _function_setstate _make_skeleton_class _make_skeleton_enum _class_setstate "
    "_make_empty_cell _make_cell _builtin_type _make_typevar _make_dict_keys _make_dict_values "
    "_make_dict_items _get_dataclass_field_type_sentinel subimport dynamic_subimport instance "
    "_fill_function _make_skel_func _rehydrate_skeleton_class"
)
_CARRYING: Final[dict[str, frozenset[str]]] = {
    "cloudpickle.cloudpickle": _CLOUDPICKLE,
    "cloudpickle.cloudpickle_fast": _CLOUDPICKLE,
    "types": frozenset(["CodeType", "MappingProxyType", "MethodType"]),
}
"""What cloudpickle writes for a function or class that cannot be imported (cloudpickle 3.1
``cloudpickle.py``; the older module in 1.3 to 2.2). Making them runs nothing yet."""

_KNOWN_NAMES: Final[dict[str, frozenset[str]]] = {
    "torch": frozenset(TORCH_DTYPES)
    | frozenset(TORCH_STORAGES)
    | _words(
        "Size device dtype Tensor Generator strided sparse_coo sparse_csr sparse_csc sparse_bsr "
        "sparse_bsc contiguous_format preserve_format channels_last channels_last_3d "
        "per_tensor_affine per_channel_affine per_channel_affine_float_qparams "
        "per_tensor_symmetric per_channel_symmetric"
    ),
    "torch.cuda": frozenset(TORCH_STORAGES),
    # The bytes given to _load_from_bytes are read too: what they name counts as the outer's.
    "torch.storage": _words(
        "UntypedStorage TypedStorage _UntypedStorage _TypedStorage _load_from_bytes"
    ),
    "torch._utils": _words(
        "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter "
        "_rebuild_parameter_with_state _rebuild_sparse_tensor _rebuild_sparse_csr_tensor "
        "_rebuild_nested_tensor _rebuild_qtensor _rebuild_meta_tensor_no_storage "
        "_rebuild_wrapper_subclass _rebuild_device_tensor_from_numpy "
        "_rebuild_device_tensor_from_cpu_tensor _rebuild_xla_tensor"
    ),
    "torch._tensor": frozenset(["_rebuild_from_type_v2", "Tensor"]),
    "torch.serialization": frozenset(["_get_layout"]),
    "torch.nn.parameter": frozenset(["Parameter", "Buffer", "UninitializedParameter"]),
    "torch.distributed.remote_device": frozenset(["_remote_device"]),
    "torch.distributed._shard.sharded_tensor.metadata": frozenset(["MEM_FORMAT_ENCODING"]),
    "torch.distributed.checkpoint.metadata": frozenset(["_MEM_FORMAT_ENCODING"]),
    "builtins": _words(
        "object bool int float complex str bytes bytearray list tuple dict set frozenset slice "
        "range Ellipsis NotImplemented"
    ),
    "copyreg": frozenset(["_reconstructor", "__newobj__", "__newobj_ex__"]),
    "collections": frozenset(
        ["OrderedDict", "defaultdict", "deque", "Counter", "ChainMap", "UserDict", "UserList"]
    ),
    "datetime": frozenset(["datetime", "date", "time", "timedelta", "timezone"]),
    "numpy": _words(
        "ndarray dtype bool_ bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 "
        "float32 float64 longdouble complex64 complex128 str_ bytes_ datetime64 "
        "timedelta64"
    ),
    "numpy.random._pickle": frozenset(
        ["__generator_ctor", "__bit_generator_ctor", "__randomstate_ctor"]
    ),
    "numpy.random.bit_generator": frozenset(
        ["SeedSequence", "SeedlessSeedSequence", "__pyx_unpickle_SeedSequence"]
    ),
    "pathlib": _words("Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"),
}
"""By module, the names that may be called, made or mentioned."""

_KNOWN: Final = _words(
    "_codecs.encode argparse.Namespace decimal.Decimal fractions.Fraction "
    "types.SimpleNamespace uuid.UUID random.Random typing.Any "
    "numpy._core.multiarray._reconstruct numpy.core.multiarray._reconstruct "
    "numpy._core.multiarray.scalar numpy.core.multiarray.scalar "
    "numpy._core.numeric._frombuffer numpy.core.numeric._frombuffer "
    "numpy.random._mt19937.MT19937 numpy.random._pcg64.PCG64 numpy.random._pcg64.PCG64DXSM "
    "numpy.random._philox.Philox numpy.random._sfc64.SFC64 "
    "numpy.random.mtrand.RandomState numpy.random._generator.Generator "
    "deepspeed.utils.tensor_fragment.fragment_address "
    "stable_baselines3.common.type_aliases.TrainFrequencyUnit"
)
"""Single things, by module and name."""

_LIBRARIES: Final = _words(
    "transformers tokenizers huggingface_hub trl peft accelerate datasets evaluate "
    "sentence_transformers diffusers optimum deepspeed unsloth unsloth_zoo axolotl swift "
    "llamafactory verl openrlhf nemo nemo_rl megatron transformer_engine apex composer "
    "lightning pytorch_lightning lightning_fabric lightning_utilities torchmetrics omegaconf "
    "torchao torchdata torchtune torchtitan bitsandbytes stable_baselines3 sb3_contrib "
    "gymnasium gym skyrl slime areal prime_rl "
    "torch.nn torch.optim torch.amp torch.cuda.amp torch.utils.data torch.distributions "
    "torch.distributed.tensor torch.distributed._tensor torch.distributed.device_mesh "
    "torch.distributed._mesh_layout torch.distributed.fsdp torch.distributed.checkpoint "
    "torch.distributed._shard torch.distributed.optim torch.distributed.algorithms "
    "torch.distributed._composable"
)
"""Packages whose classes honest checkpoints hold: made or mentioned, and enumerations called."""

_LURKING: Final = _words(
    "os posix nt sys subprocess importlib builtins ctypes socket shutil runpy pickle "
    "_pickle cloudpickle dill marshal multiprocessing asyncio system popen Popen eval exec "
    "execfile compile __import__ __builtins__ __globals__ __getattribute__ __subclasses__ "
    "__class__ __dict__ __code__ __reduce__ __loader__ __spec__ import_module "
    "check_output check_call getoutput getstatusoutput spawn fork"
)
"""Names that no honest part of a dotted name has, whichever module it is reached through."""

_DANGEROUS: Final = _words(  # Running programs and commands.
    "os posix nt sys subprocess _posixsubprocess commands popen2 pty "
    "asyncio multiprocessing _multiprocessing concurrent threading _thread sched signal atexit "
    "webbrowser antigravity platform.popen idlelib pydoc ensurepip venv pip setuptools "
    "pkg_resources distutils site sysconfig gc resource faulthandler "
    # Running Python, importing it, or reaching into the interpreter.
    "importlib imp runpy pkgutil zipimport code codeop pdb bdb cProfile profile trace timeit "
    "doctest unittest test lib2to3 inspect ctypes _ctypes cffi types operator _operator "
    "functools _functools weakref dis ast compileall py_compile codecs encodings readline cmd "
    "logging.config "
    # Loading further pickles, or the like.
    "pickle _pickle cPickle pickletools shelve marshal dill cloudpickle joblib copyreg "
    "jsonpickle yaml pandas.read_pickle pandas.io.pickle pandas.eval pandas.core.computation "
    "torch.load torch.save torch.hub torch.jit torch.package torch.serialization torch.ops "
    "torch.classes torch.compile torch.fx torch._dynamo torch._inductor torch._export "
    "torch.export torch.testing torch.utils.cpp_extension torch.utils.collect_env "
    "torch.utils.model_zoo torch.utils.bottleneck torch.utils._config_module "
    "torch.utils.data.datapipes torch.distributed.rpc torch.distributed.elastic "
    "torch.distributed.launch torch.distributed.run torch.multiprocessing "
    "torch.distributed.distributed_c10d torch._utils_internal torch._C "
    "numpy.load numpy.save numpy.fromfile numpy.memmap numpy.f2py numpy.distutils "
    "numpy.testing numpy.ctypeslib numpy.lib numpy.DataSource scipy.io "
    "transformers.pipelines transformers.dynamic_module_utils transformers.commands "
    "transformers.agents transformers.tools transformers.utils.hub "
    "accelerate.commands accelerate.launchers accelerate.test_utils deepspeed.launcher "
    "deepspeed.ops deepspeed.elasticity datasets.load datasets.packaged_modules "
    "huggingface_hub.commands huggingface_hub.cli lightning.app evaluate.loading "
    # Opening connections and files.
    "socket _socket ssl socketserver select selectors http httplib urllib urllib2 urllib3 "
    "requests httpx aiohttp ftplib smtplib poplib imaplib nntplib telnetlib xmlrpc wsgiref "
    "paramiko fabric cgi shutil tempfile fileinput glob io.open io.open_code io.FileIO "
    "_io.open _io.open_code _io.FileIO mmap sqlite3 dbm tarfile zipfile getpass pwd spwd crypt "
    # Of the built-in functions, all but the plain types.
    "builtins"
)
"""Modules and names that have no place in a checkpoint; a prefix counts for all below it."""

_SPARED: Final = frozenset(
    {f"{module}.{name}" for module in ("builtins", "copyreg") for name in _KNOWN_NAMES[module]}
    | {"types.SimpleNamespace", "torch.serialization._get_layout", "signal.Signals"}
    # It only keeps a function, which is named beside it and judged by itself; whether anything
    # calls it cannot be told, so a call of it is unknown rather than dangerous.
    | {"functools.partial"}
)
"""What a dangerous prefix does not cover."""
