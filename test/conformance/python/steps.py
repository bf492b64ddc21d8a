"""What a client can do, step by step: each prints one line that the test reads. Steps run in order; later ones use what earlier made."""

import json
import sys
import traceback

_failed = False


def step(operation, limit=""):
    """Runs the function at once and reports how it ended. A step with a limit shows what cannot be done, and limit says why."""

    def run(function):
        global _failed
        result = {"operation": operation, "ok": True}
        if limit:
            result["limit"] = limit
        try:
            function()
        except Exception:
            _failed = True
            result.update(ok=False, detail=traceback.format_exc(limit=-6)[-3000:])
        print("\nRESULT " + json.dumps(result), flush=True)
        return function

    return run


def expect(condition, message="not as expected"):
    if not condition:
        raise AssertionError(message)


def equal(got, want):
    expect(got == want, f"got {got!r}, want {want!r}")


def refused(call, text):
    """Expects that a call fails with a text; returns the exception."""
    try:
        call()
    except Exception as e:
        expect(text in str(e), f"got {e}, want {text}")
        return e
    raise AssertionError(f"it did not fail; want {text}")


def end():
    sys.exit(1 if _failed else 0)
