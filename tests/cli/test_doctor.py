"""asrctl doctor."""

import os
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement


def test_a_machine_that_runs_the_tests_is_fit(asrctl, tmp_path):
    result = asrctl("doctor", "--json").result
    checks = {check["name"]: check for check in result["checks"]}
    for name in ("python", "libraries", "torch", "transformers", "cpu", "cuda", "ipu", "codecs", "disk", "workspace"):
        assert name in checks
    assert {check["state"] for check in checks.values()} <= {"ok", "warn"}
    assert all((check["fix"] is None) == (check["state"] == "ok") for check in checks.values())
    lines = asrctl("doctor").succeeded().stdout.splitlines()
    assert all(len(line) <= 80 for line in lines if str(tmp_path) not in line)
    assert sum(line.startswith(("ok", "warn")) for line in lines) == len(checks)


def test_it_leaves_no_trace(asrctl, workspace):
    asrctl("doctor").succeeded()
    assert not workspace.exists()


def test_a_workspace_that_is_a_file_is_a_failure_with_a_fix(asrctl, tmp_path):
    (tmp_path / "file").write_text("")
    result = asrctl("doctor", "--workspace", tmp_path / "file", "--json")
    assert result.exit_code == 6
    assert "workspace" in result.error["message"]
    failed = [check for check in result.json["result"]["checks"] if check["state"] == "fail"]
    assert [check["name"] for check in failed] == ["workspace"]
    assert failed[0]["fix"] == "choose another --workspace"


def test_a_workspace_that_can_not_be_written_is_a_failure(asrctl_with_permissions, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    result = asrctl_with_permissions("doctor", "--workspace", "closed/workspace", "--json")
    assert result.exit_code == 6
    assert "correct the permissions" in result.error["fix"]


def test_a_poptorch_that_does_not_load_is_told_and_stops_nobody(asrctl_process, tmp_path):
    """As where the wheel is installed and the SDK's scripts were not sourced in this shell."""
    (tmp_path / "modules" / "poptorch").mkdir(parents=True)
    (tmp_path / "modules" / "poptorch" / "__init__.py").write_text("raise ImportError('libpoplar.so is not there')")
    path = os.pathsep.join([str(tmp_path / "modules"), os.environ.get("PYTHONPATH", "")])
    checks = asrctl_process("doctor", "--json", env={"PYTHONPATH": path}).result["checks"]
    (ipu,) = [check for check in checks if check["name"] == "ipu"]
    assert ipu["state"] == "warn" and "libpoplar.so" in ipu["found"] and "source" in ipu["fix"]
    chosen = "from asrctl.runtime import devices; print(devices.choose('auto').kind)"
    env = {**os.environ, "PYTHONPATH": path}
    found = subprocess.run([sys.executable, "-c", chosen], env=env, stdout=subprocess.PIPE, check=True)
    assert found.stdout.strip() in (b"cpu", b"cuda", b"mps")


def test_an_extra_is_asked_for_only_where_it_brings_what_is_missing(asrctl):
    """The advice is followed on paper: after it nothing may be missing still."""
    try:
        lines = metadata.requires("asrctl")
    except metadata.PackageNotFoundError:
        pytest.skip("asrctl is not installed, only on the path")
    brought = set()
    for line in lines:
        wanted = Requirement(line)
        if any(wanted.marker and wanted.marker.evaluate({"extra": extra}) for extra in ("demo", "onnx", "s3", "gs")):
            brought.add(wanted.name.replace("-", "_"))
    assert {"espeakng_loader", "onnx", "onnxruntime"} <= brought
    for check in asrctl("doctor", "--json").result["checks"]:
        if check["name"].startswith("extra ") and check["state"] != "ok":
            missing = check["found"].partition("(")[2].partition(")")[0]
            assert set(missing.split(", ")) <= brought, check
