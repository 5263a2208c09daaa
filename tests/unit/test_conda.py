"""Conda files and requirements become what pip's world calls them, or are refused with the right words."""

import pytest
from packaging.requirements import Requirement

from ultramarine.domain.conda import (
    CondaFileRefused,
    CondaOnly,
    PythonNotThere,
    RequirementRefused,
    Wanted,
    choose_python,
    from_conda,
    from_requirements,
)
from ultramarine.domain.conda_names import CONDA_ONLY, HOW, PYPI, UNNEEDED
from ultramarine.domain.errors import UltramarineError


def conda(*dependencies: str) -> str:
    return "name: n\nchannels: [conda-forge]\ndependencies:\n" + "".join(f"  - {line}\n" for line in dependencies)


TAKEN = [
    (conda("python=3.11", "numpy"), "==3.11.*", ("numpy",)),
    (conda("python=3.8.5", "numpy=1.26"), "==3.8.*", ("numpy==1.26.*",)),
    (conda("python==3.10.4"), "==3.10.*", ()),
    (conda("python>=3.9,<3.12"), "<3.12,>=3.9", ()),
    (conda("python=3"), "==3.*", ()),
    (conda("numpy==1.26.4"), None, ("numpy==1.26.4",)),
    (conda("numpy=1.26.4=py311h64a7726_0"), None, ("numpy==1.26.4",)),
    (conda("numpy 1.26.*"), None, ("numpy==1.26.*",)),
    (conda("numpy 1.26.4 py311_0"), None, ("numpy==1.26.4",)),
    (conda("numpy >= 1.20, <2"), None, ("numpy<2,>=1.20",)),
    (conda("numpy=*"), None, ("numpy",)),
    (conda("numpy~=1.26.0"), None, ("numpy~=1.26.0",)),
    (conda("numpy!=1.25"), None, ("numpy!=1.25",)),
    (conda("scipy=1.11.*"), None, ("scipy==1.11.*",)),
    (conda("conda-forge::lightgbm=4.3"), None, ("lightgbm==4.3.*",)),
    (conda("pytorch::pytorch=2.1=*cuda*"), None, ("torch==2.1",)),
    (
        conda("pytorch", "torchvision", "py-opencv", "msgpack-python"),
        None,
        ("torch", "torchvision", "opencv-python-headless", "msgpack"),
    ),
    (conda("py-xgboost=2.0", "matplotlib-base", "ray-tune"), None, ("xgboost==2.0.*", "matplotlib", "ray[tune]")),
    (conda("ruamel_yaml", "Importlib_Metadata"), None, ("ruamel-yaml", "importlib-metadata")),
    (conda("openssl", "libgcc-ng", "ca-certificates", "numpy"), None, ("numpy",)),
    (
        conda("pip", "pip: [mlflow, 'azureml-mlflow==1.56', 'scikit-learn>=1.2']"),
        None,
        ("pip", "mlflow", "azureml-mlflow==1.56", "scikit-learn>=1.2"),
    ),
    (
        conda("pip<=21.2.4", "pip: ['inference-schema[numpy-support]==1.3.0']"),
        None,
        ("pip<=21.2.4", "inference-schema[numpy-support]==1.3.0"),
    ),
    (conda("pip:"), None, ()),
    (conda("numpy", "pip: [numpy]"), None, ("numpy",)),
    ({"dependencies": ["numpy", {"pip": ["torch"]}]}, None, ("numpy", "torch")),
    ("%YAML 1.1\n---\ndependencies: &d [numpy]\nchannels: *d\n", None, ("numpy",)),
    ("\ufeffname: n\ndependencies: [numpy]\n", None, ("numpy",)),
    ("name: n\r\ndependencies:\r\n- numpy\r\n", None, ("numpy",)),
]


@pytest.mark.parametrize(("content", "python", "requirements"), TAKEN)
def test_a_conda_file_becomes_requirements(
    content: str | dict[str, object], python: str | None, requirements: tuple[str, ...]
):
    assert from_conda(content) == Wanted(requirements=requirements, python=python)


REFUSED = [
    (conda("cudatoolkit=11.8", "numpy", "r-base", "gcc_linux-64"), CondaOnly, "cudatoolkit, gcc_linux-64, r-base"),
    (conda("nodejs=18"), CondaOnly, "nodejs"),
    (conda("mkl"), CondaOnly, "mkl"),
    (conda("pytorch-cuda=12.1"), CondaOnly, "pytorch-cuda"),
    (conda("numpy=1.2|1.3"), CondaFileRefused, "or"),
    (conda("'numpy[version=1.2]'"), CondaFileRefused, "numpy"),
    (conda("numpy=abc/def"), CondaFileRefused, "abc/def"),
    (conda("python: 3.11"), CondaFileRefused, "dependencies[0]"),
    (conda("3.11"), CondaFileRefused, "dependencies[0]"),
    ("name: n\ndependencies: numpy\n", CondaFileRefused, "a list is expected"),
    ("name: n\n", CondaFileRefused, "`dependencies` is nothing"),
    ("- numpy\n", CondaFileRefused, "holds a list"),
    ("", CondaFileRefused, "holds nothing"),
    ("dependencies: [numpy]\ndepend: 1\n", CondaFileRefused, "depend"),
    ("dependencies: [numpy]\nvariables: {A: b}\n", CondaFileRefused, "variables"),
    ("name: a\nname: b\ndependencies: []\n", CondaFileRefused, "Line 2: the key 'name' stands here and in line 1 too"),
    ("dependencies: [\n numpy\n", CondaFileRefused, "Line 3"),
    ("dependencies:\n\t- numpy\n", CondaFileRefused, "Line 2"),
    ("dependencies: [!!python/object/apply:os.system [id]]\n", CondaFileRefused, "Line 1"),
    ("a: " + "[" * 500 + "]" * 500, CondaFileRefused, "levels deep"),
    ("a: &a [1]\nb: [" + ",".join(["*a"] * 1000) + "]\n", CondaFileRefused, "aliases"),
    ("? [1, 2]\n: 3\n", CondaFileRefused, "key"),
    ("a: 2024-99-99\n", CondaFileRefused, "value"),
    ("a: \x00\n", CondaFileRefused, "YAML"),
    ("# " + "x" * 300_000, CondaFileRefused, "256 KiB"),
    (conda("pip: numpy"), CondaFileRefused, "dependencies[0].pip"),
    (conda("pip: [1]"), CondaFileRefused, "dependencies[0].pip"),
    (conda("pip: ['-r requirements.txt']"), RequirementRefused, "-r requirements.txt"),
]


@pytest.mark.parametrize(("content", "kind", "words"), REFUSED)
def test_a_conda_file_that_cannot_be_taken_is_refused_in_words(content: str, kind: type[UltramarineError], words: str):
    with pytest.raises(kind) as refused:
        from_conda(content)
    assert words in str(refused.value)
    assert refused.value.hint


def test_all_names_that_only_conda_has_are_in_one_error_with_what_to_do():
    with pytest.raises(CondaOnly) as refused:
        from_conda(conda("cudatoolkit", "ffmpeg", "r-base"))
    assert refused.value.names == ("cudatoolkit", "ffmpeg", "r-base")
    assert "imageio-ffmpeg" in refused.value.hint
    assert "wheels of torch" in refused.value.hint


ESCAPING = [
    "git+https://u:secret@example.org/x.git",
    "name @ git+ssh://git@example.org/x",
    "https://u:secret@example.org/x-1-py3-none-any.whl",
    "name @ https://u:secret@example.org/x.whl",
    "name @ file:///etc/passwd",
    "file:///etc/passwd",
    "./local",
    "../other",
    "/etc/passwd",
    "~/thing",
    "folder/thing",
    "C:\\thing",
    "thing.whl",
    ".",
    "-e .",
    "-r other.txt",
    "-c limits.txt",
    "--index-url https://u:secret@example.org/simple",
    "--extra-index-url=https://example.org",
    "-f /opt",
    "numpy ==",
    "numpy; os.system('x')",
    "nu mpy",
    "номер",
    "numpy\x00",
]


@pytest.mark.parametrize("line", ESCAPING)
def test_what_is_no_package_of_an_index_is_refused_before_uv_sees_it(line: str):
    with pytest.raises(RequirementRefused) as refused:
        from_requirements([line])
    assert refused.value.hint
    assert "secret" not in str(refused.value) + refused.value.hint


def test_requirement_lines_are_normalised_and_kept_once():
    lines = [
        "# a comment",
        "",
        "Scikit_Learn>=1.2  # why",
        "scikit-learn>=1.2",
        'numpy>=1; python_version < "3.12"',
        "uvicorn [standard]",
        "a==1 \\",
        "    --hash=sha256:ab",
    ]
    assert from_requirements(lines).requirements == (
        "scikit-learn>=1.2",
        'numpy>=1; python_version < "3.12"',
        "uvicorn[standard]",
        "a==1",
    )


@pytest.mark.parametrize(
    ("wanted", "available", "chosen"),
    [
        (None, ["3.10", "3.11", "3.13"], "3.11"),
        ("==3.10.*", ["3.9", "3.10", "3.11"], "3.10"),
        (">=3.9,<3.11", ["3.9", "3.10", "3.11"], "3.10"),
        (">=3.11.3", ["3.10", "3.11"], "3.11"),
        (None, ["3.9", "3.10"], "3.10"),
    ],
)
def test_the_preferred_python_is_taken_where_it_will_do_else_the_newest(
    wanted: str | None, available: list[str], chosen: str
):
    assert choose_python(Wanted(requirements=(), python=wanted), available, preferred="3.11") == chosen


def test_a_python_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(PythonNotThere, match=r"Python 3\.7 is not there; there is: 3\.9, 3\.10\.") as refused:
        choose_python(from_conda(conda("python=3.7")), ["3.10", "3.9"], preferred="3.11")
    assert "3.9, 3.10" in refused.value.hint


def test_the_table_of_names_holds_no_contradiction_and_only_valid_names():
    assert not set(PYPI) & (CONDA_ONLY | UNNEEDED)
    assert not CONDA_ONLY & UNNEEDED
    assert set(HOW) <= CONDA_ONLY
    assert all(Requirement(name) for name in PYPI.values())
    assert all(
        issubclass(kind, UltramarineError) for kind in (CondaOnly, CondaFileRefused, RequirementRefused, PythonNotThere)
    )
