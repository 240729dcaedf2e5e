import pytest

from scripts.common.errors import BundleError


def test_whole_message():
    error = BundleError(
        "the affine is singular",
        case="abd_01",
        stage="cohort",
        file="abd_01.nii.gz",
        expected="an invertible affine",
        found=[0, 0, 0],
    )
    assert str(error).splitlines() == [
        "[stage cohort, case abd_01] the affine is singular",
        "  file: abd_01.nii.gz",
        "  expected: an invertible affine",
        "  found: [0, 0, 0]",
    ]
    assert (error.problem, error.case, error.stage) == ("the affine is singular", "abd_01", "cohort")


def test_parts_that_are_not_given_are_left_out():
    assert str(BundleError("no support")) == "no support"
    assert str(BundleError("no support", stage="cohort")) == "[stage cohort] no support"
    assert str(BundleError("bad", case="a", file="f.nii")) == "[case a] bad\n  file: f.nii"


def test_zero_and_empty_are_values():
    assert str(BundleError("too few", expected=2, found=0)) == "too few\n  expected: 2\n  found: 0"
    assert "found: []" in str(BundleError("too few", found=[]))


def test_it_can_be_raised_and_caught():
    with pytest.raises(BundleError, match="too few good volumes"):
        raise BundleError("too few good volumes")
