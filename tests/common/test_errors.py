import pytest

from scripts.common.errors import BundleError, UnexpectedError


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


def test_what_it_does_not_name_can_be_added():
    error = BundleError("bad", case="a")
    assert error.within("fusing", "b", "f.nii") is error
    assert str(error) == "[stage fusing, case a] bad\n  file: f.nii"
    assert (error.stage, error.case, error.file) == ("fusing", "a", "f.nii")


def test_a_fault_of_the_program_asks_for_a_report():
    lines = str(UnexpectedError(ValueError("3 > 2"), stage="fusing", case="a")).splitlines()
    assert lines[0] == "[stage fusing, case a] this is a fault of the program"
    assert "please report it" in lines[1] and lines[2] == "  found: ValueError: 3 > 2"
