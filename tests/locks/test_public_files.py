"""Files of the kinds that people have, read as they are: from the file's bytes to requirements and a Python, or to the
words that say what is in the way."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from ultramarine.domain.conda import CondaFileRefused, CondaOnly, PythonNotThere, RequirementRefused, Wanted
from ultramarine.domain.environment import EnvironmentSpec
from ultramarine.domain.errors import InvalidInput, UltramarineError
from ultramarine.sdk.http import Client
from ultramarine.sdk.preparation import PREPARE, Uploads
from ultramarine.services.environments import wanted

PYTHONS = ("3.11", "3.8", "3.9", "3.10", "3.12")  # the preferred one first


def read(folder: Path, content: bytes, *, field: str) -> tuple[Wanted, str]:
    """As `um environment create` and the server read it."""
    (folder / "file").write_bytes(content)
    uploads = Uploads(client=cast("Client", None), workspace_path="", folder=folder)
    body = PREPARE["environment"]({"name": "n", field: "file"}, uploads)
    return wanted(EnvironmentSpec.read(body, what="the environment"), pythons=PYTHONS)


CONDA: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "scoring with scikit-learn": (
        """\
name: model-env
channels:
  - conda-forge
dependencies:
  - python=3.9
  - numpy=1.23.5
  - pip=23.0.1
  - scikit-learn=1.2.2
  - scipy=1.10.1
  - pip:
    - azureml-defaults==1.53.0
    - inference-schema[numpy-support]==1.5.1
    - joblib==1.2.0
""",
        "3.9",
        (
            "numpy==1.23.5.*",
            "pip==23.0.1.*",
            "scikit-learn==1.2.2.*",
            "scipy==1.10.1.*",
            "azureml-defaults==1.53.0",
            "inference-schema[numpy-support]==1.5.1",
            "joblib==1.2.0",
        ),
    ),
    "Python to the patch, pip below a version": (
        """\
name: batch-env
channels: [conda-forge]
dependencies:
  - python=3.8.5
  - pip<22.0
  - pip:
    - tensorflow==2.11.0
    - pillow
    - azureml-core
    - azureml-dataset-runtime[fuse]
""",
        "3.8",
        ("pip<22.0", "tensorflow==2.11.0", "pillow", "azureml-core", "azureml-dataset-runtime[fuse]"),
    ),
    "logged by MLflow": (
        """\
channels:
- conda-forge
dependencies:
- python=3.10.11
- pip<=23.1.2
- pip:
  - mlflow==2.14.1
  - cloudpickle==2.2.1
  - psutil==5.9.0
name: mlflow-env
""",
        "3.10",
        ("pip<=23.1.2", "mlflow==2.14.1", "cloudpickle==2.2.1", "psutil==5.9.0"),
    ),
    "exported with builds and a prefix": (
        """\
name: base
channels:
  - defaults
dependencies:
  - _libgcc_mutex=0.1=main
  - _openmp_mutex=5.1=1_gnu
  - ca-certificates=2023.01.10=h06a4308_0
  - ld_impl_linux-64=2.38=h1181459_1
  - libffi=3.4.2=h6a678d5_6
  - ncurses=6.4=h6a678d5_0
  - numpy=1.26.4=py311h08b1b3b_0
  - openssl=1.1.1t=h7f8727e_0
  - python=3.11.3=h955ad1f_0
  - tzdata=2023c=h04d1e81_0
  - xz=5.2.10=h5eee18b_1
prefix: /opt/conda/envs/base
""",
        "3.11",
        ("numpy==1.26.4",),
    ),
    "channels before names": (
        """\
channels: [pytorch, conda-forge]
dependencies:
  - conda-forge::python=3.10
  - pytorch::pytorch=2.1
  - conda-forge/linux-64::lightgbm>=4
  - https://conda.example.org/channel::polars
""",
        "3.10",
        ("torch==2.1.*", "lightgbm>=4", "polars"),
    ),
    "ranges with and without spaces": (
        """\
dependencies:
  - python>=3.8,<3.11
  - scikit-learn>=0.24,<1
  - pandas >=1.3, <2
  - "numpy 1.22.*"
  - scipy!=1.9.0
""",
        "3.10",
        ("scikit-learn<1,>=0.24", "pandas<2,>=1.3", "numpy==1.22.*", "scipy!=1.9.0"),
    ),
    "names that differ": (
        """\
dependencies: [python=3.11, py-xgboost=2, matplotlib-base, opencv, pytables, msgpack-python, ipykernel]
""",
        "3.11",
        ("xgboost==2.*", "matplotlib", "opencv-python-headless", "tables", "msgpack", "ipykernel"),
    ),
    "comments everywhere": (
        """\
# what the training needs
dependencies:  # in order
  - python=3.11  # as on the nodes
  - pip
  - pip:
    # - torch==1.13
    - transformers>=4.30  # for Trainer
    - "datasets  # streamed"
""",
        "3.11",
        ("pip", "transformers>=4.30", "datasets"),
    ),
    "no Python named": ("dependencies:\n- pandas\n", "3.11", ("pandas",)),
    "any Python 3": ("dependencies: [python=3, pandas]\n", "3.11", ("pandas",)),
    "an empty pip section": ("dependencies:\n- python=3.12\n- pip\n- pip:\n", "3.12", ("pip",)),
    "markers and extras under pip": (
        """\
dependencies:
  - python=3.9
  - pip:
    - ray[tune,default]==2.9.3
    - importlib-metadata>=4; python_version < "3.10"
    - pywin32; sys_platform == 'win32'
""",
        "3.9",
        (
            "ray[default,tune]==2.9.3",
            'importlib-metadata>=4; python_version < "3.10"',
            'pywin32; sys_platform == "win32"',
        ),
    ),
    "a version as YAML reads it": ("dependencies:\n- python=3.10\n- 'numpy==1.26'\n", "3.10", ("numpy==1.26",)),
    "an anchor used once": ("dependencies: [&x pandas, python=3.11, *x]\n", "3.11", ("pandas",)),
    "byte order mark and Windows' line ends": (
        "\ufeffname: n\r\ndependencies:\r\n  - python=3.9\r\n  - pip:\r\n    - pandas\r\n",
        "3.9",
        ("pandas",),
    ),
}


@pytest.mark.parametrize("kind", CONDA)
def test_a_conda_file_of_this_kind_is_taken(kind: str, tmp_path: Path):
    content, python, requirements = CONDA[kind]
    found, chosen = read(tmp_path, content.encode(), field="conda_file")
    assert (chosen, found.requirements) == (python, requirements)


REQUIREMENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "frozen": (
        "certifi==2024.2.2\nPyYAML==6.0.1\nscikit_learn==1.4.2\ntyping_extensions==4.11.0\n",
        ("certifi==2024.2.2", "pyyaml==6.0.1", "scikit-learn==1.4.2", "typing-extensions==4.11.0"),
    ),
    "with hashes over several lines": (
        "six==1.16.0 \\\n    --hash=sha256:1e61 \\\n    --hash=sha256:8abb\n    # via\n    #   dateutil\n"
        "idna==3.7 --hash=sha256:82\n",
        ("six==1.16.0", "idna==3.7"),
    ),
    "with comments, markers and extras": (
        "# data\npandas[parquet] >= 2.0, < 3   # frames\n\ntomli ; python_version<'3.11'\nuvicorn[standard]\n",
        ("pandas[parquet]<3,>=2.0", 'tomli; python_version < "3.11"', "uvicorn[standard]"),
    ),
    "a local version": ("torch==2.2.2+cpu\n", ("torch==2.2.2+cpu",)),
    "byte order mark, Windows' line ends, no newline at the end": (
        "\ufeffpandas\r\nnumpy~=1.26.0",
        ("pandas", "numpy~=1.26.0"),
    ),
}


@pytest.mark.parametrize("kind", REQUIREMENTS)
def test_a_requirements_file_of_this_kind_is_taken(kind: str, tmp_path: Path):
    content, requirements = REQUIREMENTS[kind]
    found, _ = read(tmp_path, content.encode(), field="requirements")
    assert found.requirements == requirements


def test_hashes_that_a_file_names_are_kept_with_what_they_are_of(tmp_path: Path):
    content, _ = REQUIREMENTS["with hashes over several lines"]
    found, _ = read(tmp_path, content.encode(), field="requirements")
    assert found.hashes == {"six": {"sha256:1e61", "sha256:8abb"}, "idna": {"sha256:82"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    content: str | bytes
    kind: type[UltramarineError]
    names: tuple[str, ...]  #: what the error names
    advice: str  #: what its hint says to do
    field: str = "conda_file"


REFUSED = {
    "CUDA by conda": Refusal(
        content="dependencies:\n- python=3.9\n- cudatoolkit=11.3\n- pytorch=1.13.1\n- cudnn\n",
        kind=CondaOnly,
        names=("cudatoolkit", "cudnn"),
        advice="come with the wheels of torch",
    ),
    "CUDA by a channel's label": Refusal(
        content="dependencies:\n- nvidia/label/cuda-11.8.0::cuda\n- conda-forge::gxx=11.4\n- conda-forge::ffmpeg\n",
        kind=CondaOnly,
        names=("cuda", "ffmpeg", "gxx"),
        advice="imageio-ffmpeg",
    ),
    "pytorch-cuda": Refusal(
        content="dependencies: [pytorch, pytorch-cuda=12.1]\n",
        kind=CondaOnly,
        names=("pytorch-cuda",),
        advice="wheels of torch",
    ),
    "R": Refusal(
        content="dependencies:\n- r-base=4.2\n- r-essentials\n",
        kind=CondaOnly,
        names=("r-base",),
        advice="by their owner",
    ),
    "a Python that is gone": Refusal(
        content="dependencies:\n- python=3.6.2\n- pip:\n  - azureml-defaults\n",
        kind=PythonNotThere,
        names=("3.6", "3.8, 3.9, 3.10, 3.11, 3.12"),
        advice="Write one of those",
    ),
    "Python 2": Refusal(
        content="dependencies: [python=2.7, theano=1.0.1]\n", kind=PythonNotThere, names=("2.7",), advice="Write one"
    ),
    "requirements beside it": Refusal(
        content="dependencies:\n- python=3.11\n- pip:\n  - -r requirements.txt\n",
        kind=RequirementRefused,
        names=("-r requirements.txt",),
        advice="Write that file's lines here",
    ),
    "an index of its own, with a secret": Refusal(
        content="dependencies:\n- pip:\n  - --extra-index-url https://me:s3cret@feed.example.org/simple\n  - torch\n",
        kind=RequirementRefused,
        names=("--extra-index-url", "feed.example.org"),
        advice="PIP_EXTRA_INDEX_URL",
    ),
    "from git": Refusal(
        content="dependencies:\n- pip:\n  - git+https://token:s3cret@git.example.org/team/x.git@main#egg=x\n",
        kind=RequirementRefused,
        names=("git.example.org/team/x.git", "version control"),
        advice="`code` folder",
    ),
    "a wheel by its address": Refusal(
        content="dependencies:\n- pip:\n  - exllama @ https://example.org/exllama-0.0.17-cp311-linux_x86_64.whl\n",
        kind=RequirementRefused,
        names=("is a URL",),
        advice="find-links",
    ),
    "a folder beside it": Refusal(
        content="dependencies:\n- pip:\n  - submodules/simple-knn\n",
        kind=RequirementRefused,
        names=("submodules/simple-knn", "is a path"),
        advice="`code` folder",
    ),
    "itself, editable": Refusal(
        content="dependencies:\n- pip:\n  - -e .[dev]\n",
        kind=RequirementRefused,
        names=("-e .[dev]",),
        advice="`code` folder",
    ),
    "itself with extras": Refusal(
        content="dependencies:\n- pip:\n  - .[dev]\n",
        kind=RequirementRefused,
        names=(".[dev]", "is a path"),
        advice="`code` folder",
    ),
    "pre-releases": Refusal(
        content="dependencies:\n- pip:\n  - --pre\n  - torch\n",
        kind=RequirementRefused,
        names=("--pre",),
        advice="`name>=2.0rc1`",
    ),
    "variables": Refusal(
        content="dependencies: [pandas]\nvariables:\n  OMP_NUM_THREADS: 1\n",
        kind=CondaFileRefused,
        names=("variables",),
        advice="environment_variables",
    ),
    "a key twice": Refusal(
        content="channels: [a]\ndependencies: [pandas]\nchannels: [b]\n",
        kind=CondaFileRefused,
        names=("Line 3", "'channels'", "line 1"),
        advice="A conda file looks so",
    ),
    "one dependency with a space after the colon": Refusal(
        content="dependencies:\n- python: 3.11\n- pandas\n",
        kind=CondaFileRefused,
        names=("dependencies[0]", "python"),
        advice="A conda file looks so",
    ),
    "a bomb of anchors": Refusal(
        content="a: &a [x, x]\n"
        + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefg"))
        + "dependencies: *g\n",
        kind=CondaFileRefused,
        names=("aliases",),
        advice="A conda file looks so",
    ),
    "an object to be made": Refusal(
        content="dependencies: !!python/object/apply:os.system ['id']\n",
        kind=CondaFileRefused,
        names=("Line 1",),
        advice="A conda file looks so",
    ),
    "UTF-16": Refusal(
        content="dependencies: [pandas]\n".encode("utf-16"), kind=InvalidInput, names=("no UTF-8",), advice="UTF-8"
    ),
    "a requirements file where a conda file is expected": Refusal(
        content="pandas==2.2.0\nnumpy\n", kind=CondaFileRefused, names=("holds text",), advice="--requirements"
    ),
    "a conda file where requirements are expected": Refusal(
        content="name: n\ndependencies:\n  - python=3.11\n",
        kind=RequirementRefused,
        names=("name: n",),
        advice="--conda-file",
        field="requirements",
    ),
    "another requirements file": Refusal(
        content="pandas\n-r base.txt\n",
        kind=RequirementRefused,
        names=("-r base.txt",),
        advice="Write that file's lines here",
        field="requirements",
    ),
    "links of torch": Refusal(
        content="-f https://download.example.org/whl/torch_stable.html\ntorch==1.9.0+cu111\n",
        kind=RequirementRefused,
        names=("-f https://download.example.org",),
        advice="PIP_FIND_LINKS",
        field="requirements",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_of_this_kind_is_refused_with_what_to_do(what: str, tmp_path: Path):
    case = REFUSED[what]
    content = case.content if isinstance(case.content, bytes) else case.content.encode()
    with pytest.raises(case.kind) as refused:
        read(tmp_path, content, field=case.field)
    assert [name for name in case.names if name not in str(refused.value)] == []
    assert case.advice in refused.value.hint
    assert "s3cret" not in str(refused.value) + refused.value.hint
