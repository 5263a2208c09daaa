"""What people write wrong, and what they are told."""

from typing import Any

import pytest
from tests.factories import SIZES, cpus, make_cluster, make_host, make_local, make_spec

from ultramarine.domain.compute import ClusterSpec, read_spec
from ultramarine.domain.environment import EnvironmentSpec
from ultramarine.domain.errors import InvalidInput, NotFound, NotSupportedYet, UltramarineError
from ultramarine.domain.job import JobSpec
from ultramarine.domain.names import Reference, checked_name


def refusal(call: Any, *given: Any, **named: Any) -> UltramarineError:
    with pytest.raises(UltramarineError) as refused:
        call(*given, **named)
    assert refused.value.hint, "every refusal says what to do next"
    return refused.value


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"comand": "x"}, "unknown field 'comand', did you mean 'command'?"),
        ({"zzz": 1}, "unknown field 'zzz'; known are "),
        ({"command": ""}, "command: String should have at least 1 character"),
        ({"resources": {"instance_count": "many"}}, "resources.instance_count: Input should be a valid integer"),
        ({"resources": {"instance_count": 0}}, "resources.instance_count: Input should be greater than or equal to 1"),
        ({"retries": 99}, "(seen: '99')"),
        ({"distribution": {"type": "horovod"}}, "distribution: "),
        ({"distribution": {"type": "mpi", "worker_count": 2}}, "unknown field 'worker_count'"),
        ({"distribution": {"type": "tensorflow", "process_count_per_instance": 2}}, "unknown field 'process_count_"),
        (
            {
                "distribution": {"type": "tensorflow", "worker_count": 2, "parameter_server_count": 1},
                "resources": {"instance_count": 4},
            },
            "3 processes, too few for resources.instance_count 4",
        ),
        ({"inputs": {"a": {"type": "uri_file", "pth": "x"}}}, "did you mean 'path'?"),
        ({"command": None}, "command: it is needed"),
        ({"notebook": "a.ipynb", "code": "."}, "command: it is needed (or, ours, notebook in its place)"),
        ({"parameters": {"a": 1}}, "parameters: they are a notebook's"),
        ({"command": None, "notebook": "a.ipynb"}, "code: the folder with the notebook is needed"),
        ({"command": None, "code": ".", "notebook": "../a.ipynb"}, "notebook: it is the path of a .ipynb file below"),
        ({"command": None, "code": ".", "notebook": "a.ipynb", "parameters": {"a b": 1}}, "'a b' cannot be the name"),
        (
            {"command": None, "code": ".", "notebook": "a.ipynb", "resources": {"instance_count": 2}},
            "notebook: it runs on one node",
        ),
        (
            {"command": None, "code": ".", "notebook": "a.ipynb", "outputs": {"notebook": {}}},
            "outputs.notebook: the executed notebook has this name",
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_was_seen(wrong: dict[str, Any], words: str) -> None:
    error = refusal(make_spec, **wrong)
    assert isinstance(error, InvalidInput)
    assert not isinstance(error, NotSupportedYet)
    assert words in str(error)


@pytest.mark.parametrize(
    "later",
    [{"services": {}}, {"identity": {}}, {"resources": {"shm_size": "2g"}}],
)
def test_a_field_of_azures_that_is_not_there_yet_is_said_to_be_so(later: dict[str, Any]) -> None:
    error = refusal(make_spec, **later)
    assert isinstance(error, NotSupportedYet)
    assert "not supported yet" in str(error)


@pytest.mark.parametrize("kind", ["pipeline", "sweep", "parallel", "spark", "automl"])
def test_a_type_of_azures_that_is_not_there_yet_is_named_before_its_fields(kind: str) -> None:
    body: dict[str, Any] = {
        "type": kind,
        "jobs": {"first": {}},
        "settings": {"default_compute": "local"},
        "unheard_of": 1,
    }
    error = refusal(JobSpec.read, body, what="the job")
    assert isinstance(error, NotSupportedYet)
    assert str(error) == f"the job: type: '{kind}' is not supported yet."


def test_a_type_that_nobody_knows_is_no_promise() -> None:
    error = refusal(make_spec, type="commnd")
    assert not isinstance(error, NotSupportedYet)
    assert "type: Input should be 'command'" in str(error)


def test_a_missing_field_is_named() -> None:
    assert "compute: Field required" in str(refusal(JobSpec.read, {"command": "x", "environment": "e"}, what="the job"))


def test_a_body_that_is_no_mapping_is_refused() -> None:
    assert "the job" in str(refusal(JobSpec.read, ["command"], what="the job"))


def test_numbers_in_environment_variables_are_their_text() -> None:
    assert make_spec(environment_variables={"OMP_NUM_THREADS": 1}).environment_variables == {"OMP_NUM_THREADS": "1"}


def test_a_schema_reference_is_taken_for_what_it_is() -> None:
    assert make_spec(**{"$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"}).compute


def test_an_environment_has_one_source() -> None:
    neither: dict[str, object] = {}
    both: dict[str, object] = {"conda_file": "a", "requirements": []}
    for body in (neither, both):
        assert "exactly one of" in str(refusal(EnvironmentSpec.read, body, what="environment e"))


@pytest.mark.parametrize("kind", ["virtualmachine", "kubernetes", "slurm"])
def test_kinds_of_compute_that_come_later_are_named(kind: str) -> None:
    assert f"{kind!r} is not supported yet" in str(refusal(read_spec, {"type": kind, "name": "c"}))


def test_a_minimum_over_the_maximum_is_refused() -> None:
    body = {"type": "amlcompute", "name": "c", "size": "cpu-1", "min_instances": 3, "max_instances": 2}
    assert "min_instances is 3, more than max_instances, 2" in str(refusal(read_spec, body))


# Expressions


@pytest.mark.parametrize(
    ("command", "resolved"),
    [
        ("train --rate ${{inputs.rate}}", "train --rate 0.1"),
        ("train ${{ inputs.data }}", "train {{input:data}}"),
        ("train ${{inputs.data.path}}", "train {{input:data}}"),
        ("train > ${{outputs.model}}", "train > {{output:model}}"),
        ("train $[[--seed ${{inputs.seed}}]]", "train "),
        ("train $[[--rate ${{inputs.rate}}]]", "train --rate 0.1"),
        ("train ${{inputs.flag}} ${{inputs.twice}}", "train true 0.1 0.1"),
    ],
)
def test_expressions_are_resolved(command: str, resolved: str) -> None:
    spec = make_spec(
        command=command,
        inputs={
            "rate": 0.1,
            "flag": True,
            "twice": "${{inputs.rate}} ${{inputs.rate}}",
            "data": {"type": "uri_folder", "path": "azureml:d:1"},
            "seed": {"type": "integer", "optional": True},
        },
        outputs={"model": {}},
    )
    assert spec.expressions().command(command) == resolved


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("${{inputs.rat}}", "is not known; the job has inputs.rate"),
        ("${{outputs.model}}", "is not known; the job has neither inputs nor outputs"),
        ("${{secrets.x}}", "${{secrets.x}} is not known."),
        ("${{inputs}}", "is not known"),
        ("${{inputs.seed}}", "the optional input 'seed' has no value"),
        ("${{inputs.a}}", "in a circle: a -> b -> a"),
        ("${{inputs.self}}", "in a circle: self -> self"),
    ],
)
def test_expressions_that_mean_nothing_are_refused(command: str, words: str) -> None:
    inputs = {
        "rate": 1,
        "seed": {"type": "integer", "optional": True},
        "a": "${{inputs.b}}",
        "b": "${{inputs.a}}",
        "self": "${{inputs.self}}",
    }
    error = refusal(make_spec(inputs=inputs).expressions().command, command)
    assert words in str(error)


def test_inputs_that_double_again_and_again_are_refused_and_not_written_out() -> None:
    inputs = {f"x{n}": f"${{{{inputs.x{n + 1}}}}}" * 10 for n in range(12)} | {"x12": "lol"}
    assert "too long" in str(refusal(make_spec(inputs=inputs).expressions().command, "${{inputs.x0}}"))


# Names, references, sizes


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a/b", "a\\b", "a\0b", "a b", "a.", "ü", "a" * 101, "a\n"])
def test_names_that_could_escape_are_refused(name: str) -> None:
    assert "cannot be the name of a job" in str(refusal(checked_name, "job", name))


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("data", Reference("data")),
        ("azureml:data", Reference("data")),
        ("data:3", Reference("data", "3")),
        ("azureml:data@latest", Reference("data", None, "latest")),
    ],
)
def test_references_are_read_with_and_without_azureml(text: str, reference: Reference) -> None:
    assert Reference.parse(text, field="f") == reference


@pytest.mark.parametrize("text", ["", "a:", ":1", "a@", "a@newest", "a:1@latest", "a b", "../a", "azureml:"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    assert str(refusal(Reference.parse, text, field="inputs.x.path")).startswith("inputs.x.path: ")


def test_a_native_size_must_fit_the_machine() -> None:
    assert SIZES.fitted("CPU-2", make_host(total=cpus(4)))[0].name == "cpu-2"
    error = refusal(SIZES.fitted, "cpu-8", make_host(total=cpus(4)))
    assert "8 CPUs" in str(error)
    assert "cpu-1, cpu-2" in error.hint


def test_an_alias_means_up_to_and_says_what_it_came_to() -> None:
    exact, notice = SIZES.fitted("standard_ds2_v2", make_host(total=cpus(4)))
    assert (exact.name, notice[:27]) == ("cpu-2", "standard_ds2_v2 is cpu-2 he")
    fitted, notice = SIZES.fitted("STANDARD_DS4_V2", make_host(total=cpus(4)))
    assert fitted.name == "cpu-2"
    assert "fitted to this machine: cpu-2" in notice


def test_an_alias_with_a_gpu_is_never_fitted_to_a_machine_without() -> None:
    assert "GPU" in str(refusal(SIZES.fitted, "STANDARD_NC6", make_host(total=cpus(4))))
    assert SIZES.fitted("STANDARD_NC6", make_host(total=cpus(4, gpus=1)))[0].name == "gpu-1"


def test_an_unknown_size_is_refused_with_the_known_ones() -> None:
    error = refusal(SIZES.fitted, "huge", make_host(total=cpus(4)))
    assert isinstance(error, NotFound)
    assert "cpu-1" in str(error)


def test_an_inferencing_cluster_holds_replicas_and_nothing_else() -> None:
    assert make_cluster(type="inferencecluster").targets == ["inferencing"]
    assert make_cluster().targets == ["training"]
    assert make_local().targets == ["training", "inferencing"]


def test_an_inferencing_cluster_may_have_its_nodes_from_anybody() -> None:
    read = read_spec({"type": "inferencecluster", "name": "i", "size": "cpu-1", "provider": "ray"})
    assert isinstance(read, ClusterSpec)
    assert read.provider == "ray"


def test_an_inferencing_cluster_whose_replicas_would_give_way_is_refused() -> None:
    error = refusal(read_spec, {"type": "inferencecluster", "name": "i", "size": "cpu-1", "tier": "low_priority"})
    assert type(error) is InvalidInput
    assert "replicas on an inferencecluster do not give way" in str(error)


@pytest.mark.parametrize("given", [{"name": "c"}, {"name": "c", "type": "cluster"}, [], None])
def test_a_compute_without_a_type_that_there_is_is_told_which_to_write(given: object):
    with pytest.raises(InvalidInput, match="type") as refused:
        read_spec(given)
    assert "amlcompute" in refused.value.hint


def test_of_images_only_azures_bases_have_a_meaning() -> None:
    conda = {"conda_file": {"dependencies": ["python=3.11"]}}
    for image in ("azureml/base", "r.example/azureml/openmpi4.1.0-cuda11.8:1", "azureml/minimal-ubuntu22.04-py311"):
        assert EnvironmentSpec.read(conda | {"image": image}, what="the environment").image == image
    for image in ("nginx", "r.example/azureml/curated/sklearn-1.5:2", "evil/azureml/base/x", "python:3.11"):
        error = refusal(EnvironmentSpec.read, conda | {"image": image}, what="the environment")
        assert isinstance(error, NotSupportedYet)
    error = refusal(EnvironmentSpec.read, {"image": "azureml/base"}, what="the environment")
    assert "holds no packages" in str(error)
