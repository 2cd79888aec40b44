"""Filters and orders are read as the protocol writes them, and refused with a reason when they cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caravan_common.errors import InvalidParametersError
from caravan_manager.db.language import (
    DEEPEST,
    LONGEST,
    MOST_COLUMNS,
    Comparison,
    Either,
    Every,
    Filter,
    Negation,
    Operator,
    Ordering,
    read_filter,
    read_order,
)


def _is(column: str, value: int) -> Comparison:
    return Comparison(column, Operator.EQUALS, value)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('name == "a"', Comparison("name", Operator.EQUALS, "a")),
        ("n!=-3", Comparison("n", Operator.DIFFERS, -3)),
        ("n >= 1.5", Comparison("n", Operator.AT_LEAST, 1.5)),
        ('name ilike "tr%"', Comparison("name", Operator.ILIKE, "tr%")),
        ('name contains "x"', Comparison("name", Operator.CONTAINS, "x")),
        ('status in ["A", "B"]', Comparison("status", Operator.IN, ("A", "B"))),
        ("status in []", Comparison("status", Operator.IN, ())),
        ("tag is null", Comparison("tag", Operator.IS, None)),
        ("tag isnot null", Comparison("tag", Operator.IS_NOT, None)),
        ("is_active == true", Comparison("is_active", Operator.EQUALS, value=True)),
        ("in_use == false", Comparison("in_use", Operator.EQUALS, value=False)),
        (r'name == "a \"b\" \\ c"', Comparison("name", Operator.EQUALS, 'a "b" \\ c')),
        ("a==1 & b==2 & c==3", Every((_is("a", 1), _is("b", 2), _is("c", 3)))),
        ("a==1 | b==2 & c==3", Either((_is("a", 1), Every((_is("b", 2), _is("c", 3)))))),
        ("(a==1 | b==2) & c==3", Every((Either((_is("a", 1), _is("b", 2))), _is("c", 3)))),
        ("!a==1 & b==2", Every((Negation(_is("a", 1)), _is("b", 2)))),
        ("!(a==1 & b==2)", Negation(Every((_is("a", 1), _is("b", 2))))),
        (" ( ( a == 1 ) ) ", _is("a", 1)),
    ],
)
def test_filters(text: str, read: Filter) -> None:
    assert read_filter(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name ==",
        "== 1",
        'name == "a" name == "b"',
        "(a == 1",
        "a == 1)",
        'name == "a',
        "name == 'a'",
        "name likes 1",
        "a == 1 &",
        "a == [1]",
        "a in 1",
        "a == 1; drop table users",
        "a == 1 -- x",
        "a.b == 1",
        "a == " + "9" * 40,
        "!" * (DEEPEST + 1) + "a == 1",
        "!" * (LONGEST - 20) + "a == 1",
        "a == 1 " + "| a == 1 " * LONGEST,
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(InvalidParametersError):
        read_filter(text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("name", (Ordering("name", descending=False),)),
        ("+name", (Ordering("name", descending=False),)),
        ("-created_at, name", (Ordering("created_at", descending=True), Ordering("name", descending=False))),
    ],
)
def test_orders(text: str, read: tuple[Ordering, ...]) -> None:
    assert read_order(text) == read


@pytest.mark.parametrize("text", [",", "name,", "name desc", "1", "+", ",".join(["a"] * (MOST_COLUMNS + 1))])
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(InvalidParametersError):
        read_order(text)


@given(st.text(alphabet="ab_ =!<>&|()[],\"\\'1.-+\ncontainslikeisnull", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_filter, read_order):
        try:
            read(text)
        except InvalidParametersError:
            continue
