import pytest

from smtp_router import ConfigError, Defer, PluginError, Reject, Reply, SmtpRouterError
from smtp_router.core.errors import Problem, Refusal


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem(message="is bad"), "is bad"),
        (Problem(message="is bad", key="users[0]"), "users[0]: is bad"),
        (Problem(message="is bad", file="c.yaml"), "c.yaml: is bad"),
        (Problem(message="is bad", file="c.yaml", line=3), "c.yaml:3: is bad"),
        (Problem(message="is bad", file="c.yaml", line=3, key="a.b"), "c.yaml:3: a.b: is bad"),
        (Problem(message="is bad", line=3, key="a.b"), "a.b: is bad"),
    ],
)
def test_a_problem_prints_what_is_known_of_its_place(problem: Problem, line: str) -> None:
    assert str(problem) == line


def test_a_config_error_carries_every_problem() -> None:
    problems = [Problem(message="one", key="a"), Problem(message="two", key="b")]
    error = ConfigError(iter(problems))
    assert error.problems == tuple(problems)
    assert str(error) == "a: one\nb: two"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PluginError("stamp", "broke"), "stamp: broke"),
        (PluginError("stamp", "broke", file="/s.py", line=3), "stamp: broke (/s.py:3)"),
        (PluginError("stamp", "broke", file="/s.py"), "stamp: broke"),
        (PluginError("stamp", "raised:\r\n  a line"), "stamp: raised: a line"),
    ],
)
def test_a_plugin_error_names_the_plugin(error: PluginError, text: str) -> None:
    assert str(error) == text


def test_every_error_is_one_of_ours() -> None:
    for kind in (ConfigError, PluginError, Refusal):
        assert issubclass(kind, SmtpRouterError)
    assert issubclass(Defer, Refusal)
    assert issubclass(Reject, Refusal)
    assert not issubclass(Defer, PluginError)


@pytest.mark.parametrize(
    ("refusal", "reply"),
    [
        (Defer(), Reply(code=451, enhanced="4.7.0", text="Try again later")),
        (Defer("busy"), Reply(code=451, enhanced="4.7.0", text="busy")),
        (
            Defer("busy", code=450, enhanced="4.2.1"),
            Reply(code=450, enhanced="4.2.1", text="busy"),
        ),
        (Reject(), Reply(code=550, enhanced="5.7.1", text="Message refused")),
        (Reject("no", code=554, enhanced="5.6.0"), Reply(code=554, enhanced="5.6.0", text="no")),
    ],
    ids=str,
)
def test_a_refusal_carries_its_reply(refusal: Refusal, reply: Reply) -> None:
    assert refusal.reply == reply
    assert str(refusal) == str(reply)


@pytest.mark.parametrize("kind", [Defer, Reject])
def test_a_line_break_in_a_refusals_text_is_no_second_line(kind: type[Defer | Reject]) -> None:
    assert kind("no\r\n250 2.0.0 yes\r\n").reply.text == "no 250 2.0.0 yes"


@pytest.mark.parametrize(
    ("kind", "code", "enhanced"),
    [
        (Defer, 550, "5.7.1"),
        (Defer, 250, "2.0.0"),
        (Defer, 451, "5.7.1"),
        (Defer, 451, ""),
        (Defer, 451, "4.7"),
        (Defer, 4510, "4.7.0"),
        (Reject, 451, "4.7.1"),
        (Reject, 250, "2.0.0"),
        (Reject, 550, "4.7.1"),
        (Reject, 550, "5.x.y"),
    ],
)
def test_a_refusals_codes_are_of_its_class(kind: type[Defer | Reject], code: int, enhanced: str) -> None:
    with pytest.raises(ValueError, match=r"answers .yz, not|is no enhanced status code"):
        kind("text", code=code, enhanced=enhanced)
