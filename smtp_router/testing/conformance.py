"""The tests that every plugin should pass, as one line of its author's test file."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeAlias

from smtp_router.testing import checks, checks_reload, checks_secrets
from smtp_router.testing.checks import Case, NotApplicableError
from smtp_router.testing.plugins import NO_OPTIONS
from smtp_router.testing.watched import LIMIT_S, watched

Check: TypeAlias = Callable[[Case], Coroutine[Any, Any, None]]

CHECKS: Final[Mapping[str, Check]] = {
    check.__name__: check
    for check in (
        checks.never_raises_on_any_history,
        checks.ends,
        checks.returns_only_what_was_offered,
        checks.copes_with_one_downstream,
        checks.copes_with_a_hundred_downstreams,
        checks.keeps_concurrent_messages_apart,
        checks.keeps_users_apart,
        checks.check_downstreams_changes_nothing,
        checks.close_leaves_nothing_running,
        checks_secrets.tells_no_secret,
        checks_reload.is_made_anew_after_a_reload,
        checks_reload.is_kept_when_downstreams_change,
    )
}
"""Every rule, by its name."""


def conformance(
    plugin: object,
    options: Mapping[str, object] | None = None,
    *,
    downstream_options: Mapping[str, object] | Sequence[Mapping[str, object]] = (),
    secrets: Sequence[str] = (),
    seed: int = 1,
    limit_s: float = LIMIT_S,
) -> Callable[[str], None]:
    """A set of tests for pytest, one for each rule that every plugin should keep.

        test_conformance = conformance(Weighted, {"mode": "random"}, downstream_options={"weight": 2})

    Args:
        plugin: whatever `make_plugin` takes. With an object that is made already, what takes another
            one is left out.
        options: of the plugin, as the configuration has them.
        downstream_options: of the downstreams, for all alike or in turn.
        secrets: texts in the options that nobody may see, beside those whose name says so (`password`,
            `secret`, `token`, `key` and the like).
        seed: of what happens; the same one, the same tests.
        limit_s: how long a hook may take, in seconds.
    """
    import pytest  # noqa: PLC0415 - who has no pytest can use everything else

    case = Case(
        target=plugin,
        options=options or NO_OPTIONS,
        downstream_options=(
            [downstream_options] if isinstance(downstream_options, Mapping) else downstream_options
        ),
        secrets=secrets,
        seed=seed,
        limit_s=limit_s,
    )

    @pytest.mark.parametrize("rule", CHECKS)
    def test(rule: str) -> None:
        __tracebackhide__ = True
        try:
            watched(lambda: CHECKS[rule](case), case.limit_s)
        except NotApplicableError as reason:
            pytest.skip(str(reason))

    return test
