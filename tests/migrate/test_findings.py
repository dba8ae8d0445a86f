"""What an import tells."""

from gateway.migrate.findings import Effect, Findings


def test_a_remark_is_told_once_and_by_its_effect() -> None:
    findings = Findings()
    for _ in range(2):
        findings.note("x:1", "a")
        findings.left_out("x:2", "b")
        findings.left_out("x:3", "c", denies=True)
    assert [findings.lines(effect) for effect in Effect] == [["x:1: a"], ["x:2: b"], ["x:3: c"]]


def test_of_very_many_the_first_are_told() -> None:
    findings = Findings()
    for number in range(300):
        findings.note(f"x:{number}", "a")
    assert findings.lines(Effect.NOTE)[-1] == "and 100 more"
