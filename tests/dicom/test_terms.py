"""Coded terms: they exist in SNOMED CT, spellings and sides are understood, and what has none gets a private code."""

import pytest
from pydicom.sr.codedict import codes

from bundle.dicom.terms import PRIVATE, SNOMED_CT, TABLE, Term, anatomy_of
from scripts.common.files import read_json

TERMS = read_json(TABLE)


def test_every_code_is_what_pydicom_calls_by_that_name():
    """pydicom's dictionary is made from the standard's own tables."""
    known = {(code.value, code.meaning) for code in (getattr(codes.SCT, word) for word in codes.SCT.dir())}
    assert {tuple(term) for term in (*TERMS["terms"].values(), *TERMS["sides"].values())} <= known


def test_every_spelling_leads_to_a_term():
    assert set(TERMS["spellings"].values()) <= set(TERMS["terms"])
    assert not set(TERMS["spellings"]) & set(TERMS["terms"])


@pytest.mark.parametrize("name", ["left_kidney", "Kidney, left", "kidney_l", "LEFT KIDNEY", "kidney-left", "Lt Kidney"])
def test_spellings_of_one_side(name):
    anatomy = anatomy_of(name)
    assert anatomy.structure == Term("64033007", SNOMED_CT, "Kidney")
    assert anatomy.side == Term("7771000", SNOMED_CT, "Left")


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("esophagus", "32849002", None),
        ("IVC", "64131007", None),
        ("Brainstem", "119238007", None),
        ("right_adrenal", "23451007", "Right"),
        ("kidneys", "64033007", "Bilateral"),
        ("parotid_r", "45289007", "Right"),
        ("gall bladder", "28231008", None),
        ("left parotids", "45289007", "Left"),
    ],
)
def test_other_spellings(name, code, side):
    anatomy = anatomy_of(name)
    assert anatomy.structure.code == code
    assert (anatomy.side and anatomy.side.meaning) == side


def test_a_class_without_a_term_gets_a_private_code_of_its_own():
    assert anatomy_of("class_7").structure == Term("CLASS_7", PRIVATE, "class_7")
    long, other = "an unusually long name of a class", "an unusually long name of a clasp"
    codes_of = {anatomy_of(name).structure.code for name in (long, other, "Ä 1", "class 7")}
    assert len(codes_of) == 4 and all(len(code) <= 16 and code.isascii() for code in codes_of)
    assert anatomy_of(long * 4).structure.meaning == (long * 4)[:64]
    assert anatomy_of("left_right_kidney").structure.scheme == PRIVATE
