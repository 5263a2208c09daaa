"""Two sets of packages compared, and a set as other tools' files."""

import pytest

from ultramarine.domain.conda import from_conda, from_requirements
from ultramarine.domain.packages import FORMATS, Difference, differences, exported

PACKAGES = {"pandas": "2.2.3", "scikit-learn": "1.5.2"}
LOCK = "pandas==2.2.3 \\\n    --hash=sha256:aa\nscikit-learn==1.5.2 \\\n    --hash=sha256:bb\n"


def test_what_differs_is_named_with_both_versions():
    found = differences(PACKAGES, {"pandas": "2.3.0", "scikit-learn": "1.5.2", "holidays": "0.5"})
    assert found == [Difference("holidays", "", "0.5"), Difference("pandas", "2.2.3", "2.3.0")]
    assert differences(PACKAGES, PACKAGES) == []


def test_a_conda_file_is_read_again_as_the_same_packages():
    text = exported("conda", name="prices", python="3.11", packages=PACKAGES, lock=LOCK)
    wanted = from_conda(text)
    assert wanted.requirements == ("pip", "pandas==2.2.3", "scikit-learn==1.5.2"), "conda wants pip named"
    assert wanted.python is not None
    assert wanted.python.startswith("==3.11")


def test_requirements_are_the_lock_with_its_hashes():
    text = exported("requirements", name="prices", python="3.11", packages=PACKAGES, lock=LOCK)
    assert text == f"# prices, for Python 3.11\n{LOCK}"


def test_a_dockerfile_holds_all_that_it_needs():
    text = exported("dockerfile", name="prices", python="3.11", packages=PACKAGES, lock=LOCK)
    assert "FROM python:3.11-slim\n" in text
    assert f"\n{LOCK}ULTRAMARINE_REQUIREMENTS\n" in text
    assert "--require-hashes" in text


@pytest.mark.parametrize("form", FORMATS)
def test_no_packages_are_no_error(form: str):
    text = exported(form, name="bare", python="3.12", packages={}, lock="")  # pyright: ignore[reportArgumentType]
    assert "3.12" in text
    assert "pip" not in text
    if form == "conda":
        assert from_conda(text).requirements == from_requirements([]).requirements
