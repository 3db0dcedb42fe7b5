"""`asrctl --help` answers like a shell tool; each command's help ends with examples."""

import resource
import subprocess
import sys

import pytest

from asrctl.cli import app

HEAVY = ("torch", "transformers", "datasets", "numpy", "pyarrow", "soundfile", "poptorch", "rich", "yaml")
LIMIT_S = 0.150
TRIES = 30


def seconds(*command, enough_s=0.0):
    """The least processor time that a command takes in up to 30 tries, the last of them below `enough_s`.

    Waiting for a busy machine does not count, but what shares a core or its caches makes a command take up to twice as
    long; the least is what it takes by itself.
    """
    taken = []
    while len(taken) < TRIES and (len(taken) < 5 or min(taken) >= enough_s):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


def test_help_is_quick():
    bare_s = seconds("-c", "pass")
    # Typer alone takes six times as long as a bare interpreter.
    limit_s = min(LIMIT_S, 12 * bare_s)
    assert seconds("-m", "asrctl", "--help", enough_s=limit_s) < limit_s


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom asrctl.cli.app import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    assert done.stderr.decode().strip() == ""


def test_nothing_typed_shows_the_help(asrctl):
    nothing, asked = asrctl().succeeded(), asrctl("--help").succeeded()
    assert nothing.stdout == asked.stdout
    assert all(f"\n  {name} " in asked.stdout for name in app.COMMANDS)
    assert asked.stderr == ""


def test_version(asrctl):
    assert asrctl("--version").succeeded().stdout == "asrctl 0.1.0\n"


@pytest.mark.parametrize("name", app.COMMANDS)
def test_a_command_explains_itself_and_ends_with_examples(asrctl, name):
    result = asrctl(name, "--help").succeeded()
    assert app.COMMANDS[name][1] in " ".join(result.stdout.split()), "the sentence in app.COMMANDS is the command's own"
    end = result.stdout.partition("\n  Examples:\n")[2].replace("\\\n", "").splitlines()
    assert end, "help ends with examples"
    assert all(line.strip().startswith(f"$ asrctl {name}") for line in end)
    assert max(map(len, result.stdout.splitlines())) <= 80
    if name != "presets":
        assert all(option in result.stdout for option in ("--workspace", "--json", "--verbose"))


@pytest.mark.parametrize("name", app.COMMANDS)
def test_a_commands_help_loads_nothing_heavy(name):
    code = (
        "import sys\nfrom asrctl.cli.app import main\n"
        f"try:\n    main([{name!r}, '--help'])\nexcept SystemExit:\n    pass\n"
        f"sys.exit(' '.join(name for name in {HEAVY[:-2]!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    assert done.stderr.decode().strip() == ""


def test_the_help_of_a_command_does_without_the_group(asrctl):
    """Whose options load what typer converts values with (pydantic, where it does), two thirds of the time."""
    code = (
        "import sys\nfrom asrctl.cli.app import main\n"
        "try:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass\nsys.exit('pydantic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    assert asrctl("train", "--help").stdout.startswith("Usage: asrctl train [OPTIONS]")
    assert asrctl("presets", "show", "--help").stdout.startswith("Usage: asrctl presets show [OPTIONS]")
