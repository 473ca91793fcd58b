from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resume_daemon.formats.inert_pickle import COMPUTED, How, Reference, load
from resume_daemon.formats.known_globals import Judgement, judge

CALL, NEW, MENTION = How.CALL, How.NEW, How.MENTION

# Every reference of files made with torch 2.13, transformers 5.23, trl 1.16, peft 0.21,
# accelerate 1.15 and numpy 2.4: optimizers, schedulers, scalers, random states, training
# arguments, modules, tensors of all types, DTensor and ShardedTensor, DCP metadata.
REAL = """
call _codecs.encode accelerate.utils.dataclasses:DistributedType builtins:bytearray
call builtins:complex builtins:frozenset builtins:range builtins:set builtins:slice
call collections:Counter collections:OrderedDict collections:defaultdict collections:deque
call datetime:datetime datetime:timedelta datetime:timezone decimal:Decimal fractions:Fraction
call numpy:dtype numpy._core.multiarray:_reconstruct numpy._core.multiarray:scalar
call numpy.random._pickle:__bit_generator_ctor numpy.random._pickle:__generator_ctor
call numpy.random._pickle:__randomstate_ctor pathlib:PosixPath types:SimpleNamespace
call numpy.random.bit_generator:__pyx_unpickle_SeedSequence
call peft.utils.peft_types:PeftType peft.utils.peft_types:TaskType torch:Size torch:device
call torch._tensor:_rebuild_from_type_v2 torch._utils:_rebuild_meta_tensor_no_storage
call torch._utils:_rebuild_parameter torch._utils:_rebuild_qtensor
call torch._utils:_rebuild_sparse_tensor torch._utils:_rebuild_tensor_v2
call torch._utils:_rebuild_tensor_v3 torch._utils:_rebuild_wrapper_subclass
call torch.distributed._shard.sharded_tensor.metadata:MEM_FORMAT_ENCODING
call torch.distributed.checkpoint.metadata:_MEM_FORMAT_ENCODING torch.serialization:_get_layout
call torch.storage:_load_from_bytes transformers.debug_utils:DebugOption
call transformers.trainer_utils:HubStrategy transformers.trainer_utils:IntervalStrategy
call transformers.trainer_utils:SaveStrategy transformers.trainer_utils:SchedulerType
call transformers.training_args:OptimizerNames
mention builtins:dict builtins:list numpy.random.bit_generator:SeedSequence
mention torch:BFloat16Storage torch:QInt8Storage torch:bfloat16 torch:float4_e2m1fn_x2
mention torch:float8_e4m3fn torch:per_tensor_affine torch:uint64 torch.storage:UntypedStorage
new accelerate.state:PartialState argparse:Namespace numpy:ndarray
new numpy.random._mt19937:MT19937 numpy.random._pcg64:PCG64 peft.tuners.lora.config:LoraConfig
new peft.tuners.lora.config:LoraRuntimeConfig torch:Tensor uuid:UUID
new torch.distributed._mesh_layout:_MeshLayout torch.distributed._shard.metadata:ShardMetadata
new torch.distributed._shard.sharded_tensor.api:ShardedTensor
new torch.distributed._shard.sharded_tensor.api:ShardedTensor.ProcessGroupState
new torch.distributed._shard.sharding_spec.api:EnumerableShardingSpec
new torch.distributed.checkpoint.filesystem:_StorageInfo torch.distributed.tensor:DTensor
new torch.distributed.checkpoint.metadata:Metadata torch.distributed.device_mesh:DeviceMesh
new torch.distributed.remote_device:_remote_device
new torch.distributed.tensor._dtensor_spec:DTensorSpec
new torch.distributed.tensor.placement_types:Shard torch.nn.modules.container:Sequential
new torch.nn.modules.linear:Linear transformers.trainer_pt_utils:AcceleratorConfig
new transformers.training_args:TrainingArguments trl.scripts.utils:DatasetMixtureConfig
new transformers.training_args_seq2seq:Seq2SeqTrainingArguments
new trl.trainer.dpo_config:DPOConfig trl.trainer.grpo_config:GRPOConfig
new trl.trainer.sft_config:SFTConfig
"""


def references(text: str) -> list[Reference]:
    found = []
    for line in text.split("\n"):
        how, *names = line.split() or [""]
        for name in names:
            module, _, rest = name.partition(":")
            if not rest:
                module, _, rest = name.rpartition(".")
            found.append(Reference(module, rest, How(how)))
    return found


@pytest.mark.parametrize("reference", references(REAL), ids=str)
def test_what_real_files_hold_is_known(reference: Reference) -> None:
    assert judge(reference) is Judgement.KNOWN


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        random.getstate(),
        np.random.get_state(),  # noqa: NPY002 - it is what trainers save.
        np.random.default_rng(3),
        np.random.RandomState(3),
        np.arange(3),
        np.float32(1.5),
        np.array([{}, None], dtype=object),
        np.array(["a"]),
        Path("/a"),
        {1, 2},
        3 + 4j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_states_of_random_generators_and_arrays_are_known(value: Any, protocol: int) -> None:
    content = load(pickle.dumps(value, protocol), Path("rng_state.pth"))
    assert {judge(reference) for reference in content.references} <= {Judgement.KNOWN}


DANGEROUS = """
os:system posix:system nt:system posix:execv sys:settrace subprocess:Popen
subprocess:check_output builtins:eval builtins:exec builtins:compile builtins:open
builtins:__import__ builtins:getattr builtins:setattr builtins:globals builtins:map
builtins:type builtins:breakpoint importlib:import_module runpy:run_path socket:socket
shutil:rmtree ctypes:CDLL ctypes.util:find_library pty:spawn code:interact pip:main
pip._internal.cli.main:main webbrowser:open asyncio:create_subprocess_shell
asyncio.unix_events:_UnixSubprocessTransport torch.hub:load torch:load torch.jit:load
torch.jit._script:script torch.fx.graph_module:reduce_graph_module torch.package:PackageImporter
torch.utils.cpp_extension:load_inline torch.distributed.elastic.multiprocessing:start_processes
operator:attrgetter operator:methodcaller _operator:itemgetter functools:reduce numpy:load
numpy.f2py.crackfortran:getlincoef multiprocessing:Process multiprocessing.util:spawnv_passfds
pickle:loads _pickle:loads dill:loads joblib:load marshal:loads types:FunctionType
timeit:timeit pdb:run cProfile:run bdb:Bdb.run trace:Trace.run
logging.config:listen copyreg:add_extension pandas:read_pickle requests:get
urllib.request:urlopen http.client:HTTPConnection tempfile:mktemp io:FileIO _io:FileIO
idlelib.pyshell:ModifiedInterpreter zipimport:zipimporter inspect:getattr_static
transformers.pipelines:Pipeline huggingface_hub.cli:main
transformers.trainer:os transformers.trainer:os.system trl.trainer.grpo_trainer:sys.exit
my_module:subprocess.Popen my_module:Thing.__init__.__globals__ my_module:Thing.__class__
torch.serialization:os.system :system os:
"""


@pytest.mark.parametrize("name", DANGEROUS.split())
@pytest.mark.parametrize("how", list(How))
def test_what_runs_programs_or_pickles_is_dangerous_however_it_is_used(name: str, how: How) -> None:
    module, _, rest = name.partition(":")
    reference = Reference(module, rest, how)
    assert judge(reference) is Judgement.DANGEROUS
    pattern = frozenset({f"{module}.*", f"{module}.{rest}"})
    assert judge(reference, pattern) is Judgement.DANGEROUS


def test_a_name_with_characters_that_hide_it_is_dangerous() -> None:
    assert judge(Reference("os\u200b", "system", MENTION)) is Judgement.DANGEROUS
    assert judge(Reference("my", "Thing\n", NEW)) is Judgement.DANGEROUS


def test_a_class_of_the_users_own_is_harmless_until_it_is_called() -> None:
    for module in ("__main__", "my_project.config", "transformers_custom"):
        assert judge(Reference(module, "Arguments", NEW)) is Judgement.OWN_CLASS
        assert judge(Reference(module, "reward", MENTION)) is Judgement.OWN_CLASS
        assert judge(Reference(module, "Arguments", CALL)) is Judgement.UNKNOWN_CALL


def test_what_is_computed_is_never_known() -> None:
    reference = Reference(COMPUTED, "the result of a call of m.f", CALL)
    assert judge(reference, frozenset({f"{COMPUTED}.*"})) is Judgement.UNKNOWN_CALL


def test_classes_of_libraries_are_made_but_only_enumerations_are_called() -> None:
    for name, how, expected in [
        ("TrainingArguments", NEW, Judgement.KNOWN),
        ("TrainingArguments", CALL, Judgement.UNKNOWN_CALL),
        ("NewStrategy", CALL, Judgement.KNOWN),
        ("NewStrategy.STEPS", MENTION, Judgement.KNOWN),
        ("NewStrategy.from_text", CALL, Judgement.UNKNOWN_CALL),
        ("load_tool", CALL, Judgement.UNKNOWN_CALL),
        ("some_function", MENTION, Judgement.OWN_CLASS),
    ]:
        assert judge(Reference("transformers.somewhere", name, how)) is expected, (name, how)


def test_a_function_kept_for_later_is_neither_known_nor_dangerous() -> None:
    assert judge(Reference("functools", "partial", CALL)) is Judgement.UNKNOWN_CALL
    assert judge(Reference("functools", "partial", MENTION)) is Judgement.OWN_CLASS


def test_a_setting_makes_own_things_known() -> None:
    extra = frozenset({"my_project.*", "other.Stage"})
    for module, name, expected in [
        ("my_project", "Stage", Judgement.KNOWN),
        ("my_project.curriculum", "Stage", Judgement.KNOWN),
        ("my_projects", "Stage", Judgement.UNKNOWN_CALL),
        ("other", "Stage", Judgement.KNOWN),
        ("other", "Stages", Judgement.UNKNOWN_CALL),
    ]:
        assert judge(Reference(module, name, CALL), extra) is expected, (module, name)


def test_what_puts_functions_together_from_their_code_is_neither_known_nor_dangerous() -> None:
    for name in ("_make_function", "_make_skeleton_class", "_class_setstate", "subimport"):
        for module in ("cloudpickle.cloudpickle", "cloudpickle.cloudpickle_fast"):
            assert judge(Reference(module, name, CALL)) is Judgement.CARRIED_CODE
    assert judge(Reference("types", "CodeType", CALL)) is Judgement.CARRIED_CODE
    # Everything else there is as dangerous as before.
    for module, name in [("cloudpickle.cloudpickle", "loads"), ("types", "FunctionType")]:
        assert judge(Reference(module, name, CALL)) is Judgement.DANGEROUS
