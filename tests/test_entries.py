"""The entry grammar: what is printed is read back, and what cannot be read is refused with a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hengyu.base.errors import HengyuError
from hengyu.methods import find_method, method_names
from hengyu.methods.grammar import parse_entry

steps = st.one_of(
    st.sampled_from(["raw", "center", "standardize", "l2", "whitening", "pca", "truncate", "abtt"]),
    st.integers(1, 999).map(lambda k: f"whitening(dim={k})"),
    st.floats(0.01, 2, allow_nan=False).map(lambda b: f"whitening(beta={b})"),
    st.integers(2, 9).map(lambda k: f"abtt(top={k})"),
)


@given(st.lists(steps, min_size=1, max_size=4).map(" > ".join))
def test_what_is_printed_is_read_back(text: str) -> None:
    entry = parse_entry(text)
    assert parse_entry(str(entry)) == entry


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("whitening( dim = 256 )", "whitening(dim=256)"),
        ("whitening(gamma=0.5, dim=64)", "whitening(dim=64, gamma=0.5)"),
        ("whitening(beta=1)", "whitening"),
        ("whitening(beta=1.0, gamma=1.0)", "whitening"),
        ("abtt(top=1)", "abtt"),
        ("center>whitening(dim=8)>l2", "center > whitening(dim=8) > l2"),
    ],
)
def test_canonical(written: str, canonical: str) -> None:
    assert str(parse_entry(written)) == canonical


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("whitning", "did you mean 'whitening'"),
        ("whitening(dims=3)", "did you mean 'dim'"),
        ("raw(dim=3)", "takes none"),
        ("whitening(dim=half)", "must be a whole number"),
        ("whitening(dim=0)", "at least 1"),
        ("whitening(dim=2.5)", "must be a whole number"),
        ("whitening(dim=3, dim=4)", "given twice"),
        ("whitening(dim=3", "expected ','"),
        ("whitening >", "expected a method's name"),
        ("", "expected a method's name"),
        ("raw raw", "expected '>'"),
        ("whitening(dim=3))", "expected '>'"),
        ("whitening(floor=1)", "floor"),
        ("abtt(top=0)", "at least 1"),
        ("__import__('os')", "cannot read"),
    ],
)
def test_mistakes_are_refused(text: str, part: str) -> None:
    with pytest.raises(HengyuError, match=part.replace("(", r"\(")):
        parse_entry(text)


def test_every_method_is_found_by_its_file() -> None:
    assert {"raw", "center", "standardize", "whitening", "pca", "abtt", "truncate", "l2"} <= set(method_names())
    for name in method_names():
        assert find_method(name).__doc__
