"""Layers: site files, base, the config, --set; and each mistake's place in its own layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.base.errors import InputError, Place
from launcher.config import load_config
from launcher.config.load import find_config
from launcher.config.site import site_files, site_value

from .helpers import BASE, REPO, load


def test_site_under_config_under_set() -> None:
    Path("site.yaml").write_text(
        "slurm: {partition: site, account: site, gpus_per_node: 4}\nruns: /shared/runs\nenv: {A: site, B: site}\n"
    )
    Path("c.yaml").write_text(BASE + "slurm: {partition: own, gpus_per_node: 8}\nenv: {B: own, C: own}\n")
    config, source = load_config("c.yaml", ["slurm.partition=set", "env.C=set"], sites=[Path("site.yaml")])
    assert config.slurm.given == {"partition": "set", "account": "site"}
    assert config.slurm.gpus_per_node == 8
    assert config.runs == "/shared/runs"
    assert config.env == {"A": "site", "B": "own", "C": "set"}
    assert source.place("slurm", "account") == Place("site.yaml", 1, 26)
    assert source.place("slurm", "gpus_per_node") == Place("c.yaml", 5, 25)
    assert source.place("slurm", "partition") == Place("--set slurm.partition=set")


def test_later_site_files_win() -> None:
    Path("one.yaml").write_text("runs: one\nslurm: {account: one}\n")
    Path("two.yaml").write_text("runs: two\n")
    Path("c.yaml").write_text(BASE)
    config, _ = load_config("c.yaml", sites=[Path("one.yaml"), Path("two.yaml")])
    assert (config.runs, config.slurm.given) == ("two", {"account": "one"})


def test_lists_and_scalars_are_replaced() -> None:
    Path("site.yaml").write_text("container: {runtime: pyxis, image: i, mounts: [/a:/a, /b:/b]}\n")
    Path("c.yaml").write_text(BASE + "container: {mounts: [/c:/c]}\n")
    config, _ = load_config("c.yaml", sites=[Path("site.yaml")])
    assert config.container.mounts == ["/c:/c"]
    assert config.container.image == "i"


def test_which_site_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SGL_LAUNCH_SITE", "/some/where.yaml")
    assert site_files() == [Path("/some/where.yaml")]
    monkeypatch.delenv("SGL_LAUNCH_SITE")
    assert site_files() == [f for f in [Path("/etc/sgl-launch/site.yaml")] if f.exists()]
    own = tmp_path / "home" / ".config" / "sgl-launch" / "site.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("runs: mine\n")
    assert site_files()[-1] == own
    assert site_value("runs") == "mine"
    elsewhere = tmp_path / "xdg"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(elsewhere))
    assert own not in site_files()


def test_an_empty_site_file_sets_nothing() -> None:
    Path("site.yaml").write_text("# later\n")
    Path("c.yaml").write_text(BASE)
    config, _ = load_config("c.yaml", sites=[Path("site.yaml")])
    assert config.name == "t"


def test_a_site_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGL_LAUNCH_SITE", "/no/site.yaml")
    Path("c.yaml").write_text(BASE)
    with pytest.raises(InputError) as error:
        load_config("c.yaml")
    assert str(error.value) == "/no/site.yaml: no such file; SGL_LAUNCH_SITE names it"


def test_runs_of_a_site_file_must_be_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("site.yaml").write_text("runs: [a]\n")
    monkeypatch.setenv("SGL_LAUNCH_SITE", "site.yaml")
    with pytest.raises(InputError) as error:
        site_value("runs")
    assert str(error.value) == "site.yaml:1:1: runs: must be a string, not ['a']"


def test_a_mistake_in_the_site_file_is_reported_there() -> None:
    Path("site.yaml").write_text("slurm:\n  gpus_per_node: many\n")
    Path("c.yaml").write_text(BASE)
    with pytest.raises(InputError) as error:
        load_config("c.yaml", sites=[Path("site.yaml")])
    assert str(error.value) == "site.yaml:2:3: slurm.gpus_per_node: must be a whole number, not 'many'"


def test_base() -> None:
    Path("sub").mkdir()
    Path("sub/first.yaml").write_text(BASE.replace("name: t", "name: first") + "env: {A: first, B: first}\n")
    Path("sub/second.yaml").write_text("base: first.yaml\nenv: {B: second, C: second}\n")
    config, source = load("base: sub/second.yaml\nname: third\nenv: {C: third}\n")
    assert config.name == "third"
    assert config.env == {"A": "first", "B": "second", "C": "third"}
    assert source.place("env", "B") == Place("sub/second.yaml", 2, 7)
    assert source.place("model") == Place("sub/first.yaml", 2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: sub/dsr2.yaml\n", "c.yaml:1:1: base: no such file: sub/dsr2.yaml; did you mean 'dsr1'?"),
        ("base: [x]\n", "c.yaml:1:1: base: must be the path of another config"),
        ('base: "x\\0"\n', "c.yaml:1:1: base: must be the path of another config"),
        ("base: c.yaml\n", "c.yaml:1:1: base: c.yaml is based on this file in turn"),
        ("bsae: c.yaml\nname: t\nmodel: {path: /m}\n", "c.yaml:1:1: bsae: unknown key; did you mean 'base'?"),
    ],
)
def test_base_mistakes(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("prefill.workers=2", 2),
        ("prefill.args.tp-size=16", 16),
        ("model.served_name=a=b", "a=b"),
        ("slurm.time=04:00:00", "04:00:00"),
        ("slurm.exclusive=true", True),
        ("container.mounts=[/a:/a]", ["/a:/a"]),
        ("env.A=", None),
    ],
)
def test_set_values(item: str, expected: object) -> None:
    from launcher.config.load import _set

    data, places = _set(item)
    value: object = data
    for key in item.partition("=")[0].split("."):
        assert isinstance(value, dict)
        value = value[key]
    assert value == expected
    assert set(places.values()) == {Place(f"--set {item}")}


def test_set_of_one_role_leaves_an_anchored_other_alone() -> None:
    text = "name: t\nmodel: {path: /m}\nprefill: &r {args: {tp-size: 8}}\ndecode: *r\n"
    config, _ = load(text, ["decode.args.tp-size=16"])
    assert config.prefill is not None
    assert config.decode is not None
    assert config.prefill.args == {"tp-size": 8}
    assert config.decode.args == {"tp-size": 16}


def test_the_last_set_wins() -> None:
    config, _ = load(BASE, ["name=a", "name=b"])
    assert config.name == "b"


def test_shipped_configs_are_found_from_any_folder() -> None:
    assert find_config("configs/dsr1.yaml") == REPO / "configs" / "dsr1.yaml"
    assert find_config("dsr1.yaml") == REPO / "configs" / "dsr1.yaml"
    Path("dsr1.yaml").write_text(BASE)
    assert find_config("dsr1.yaml") == Path("dsr1.yaml")
    with pytest.raises(InputError, match=r"other/dsr1\.yaml: no such file; did you mean 'dsr1'"):
        find_config("other/dsr1.yaml")
    with pytest.raises(InputError, match=r"no such file; configs that ship: .*dsr1, .*local"):
        find_config("x" * 300)
    with pytest.raises(InputError, match=r"nope\.yaml: no such file; configs that ship: "):
        find_config("nope.yaml")  # .yaml alone makes no name like another
    Path("my-model.yaml").write_text(BASE)
    with pytest.raises(InputError, match=r"no such file; did you mean 'my-model'"):
        find_config("my-mode.yaml")


@pytest.mark.parametrize("base", ["dsr1", "dsr1.yaml", "configs/dsr1.yaml"])
def test_a_base_is_found_as_a_config_is(base: str) -> None:
    Path("sub").mkdir()
    Path("sub/c.yaml").write_text(f"base: {base}\nname: mine\n")
    config, source = load_config("sub/c.yaml", sites=())
    assert config.name == "mine"
    assert source.place("prefill", "workers").source == str(REPO / "configs" / "dsr1.yaml")
    (Path("sub") / base).parent.mkdir(exist_ok=True)
    (Path("sub") / base).write_text(BASE)  # a file at that place comes first
    assert load_config("sub/c.yaml", sites=())[0].served_name == "/m"


@pytest.mark.parametrize(
    ("item", "key", "expected"),
    [
        ("prefill.args.tp_size=4", "tp-size", 4),
        ("prefill.args.--tp-size=4", "tp-size", 4),
        ("prefill.args.tp=4", "tp", 4),
        ("prefill.args.tensor-parallel-size=4", "tensor-parallel-size", 4),
    ],
)
def test_a_flag_is_overridden_in_any_spelling(item: str, key: str, expected: int) -> None:
    config, source = load(BASE, [item])
    assert config.prefill is not None
    assert config.prefill.args == {key: expected}
    assert source.place("prefill", "args", key) == Place(f"--set {item}")


def test_null_takes_away_what_a_base_sets() -> None:
    Path("b.yaml").write_text(
        BASE + "env: {A: 1, B: 2}\nslurm: {cpus_per_task: 4, gpus_per_node: 4, time: 10}\ntimeouts: {ready: 5}\n"
        "container: {runtime: pyxis, image: x, mounts: [/a:/a]}\nspare_nodes: 2\n"
    )
    text = (
        "base: b.yaml\nenv: {A: null}\nslurm: {cpus-per-task: null, gpus_per_node: null}\ntimeouts: null\n"
        "container: {mounts: null}\nspare_nodes: null\nprefill: {args: {tp_size: null, dp-size: 2}}\n"
    )
    config, _ = load(text)
    assert config.env == {"B": "2"}
    assert config.slurm.given == {"time": 10}
    assert config.slurm.gpus_per_node == 8
    assert config.timeouts.ready == 3600
    assert config.container.mounts == []
    assert config.spare_nodes == 0
    assert config.prefill is not None
    assert config.prefill.args == {"dp-size": 2}
    assert load(text, ["env=null"])[0].env == {}
    with pytest.raises(InputError, match="must be a whole number, not null"):
        load(BASE + "spare_nodes:\n")  # nothing below it sets that: a value was forgotten


def test_paths_of_every_kind_are_taken_from_their_file() -> None:
    for folder in ("bases", "mine"):
        Path(folder).mkdir()
    Path("bases/b.yaml").write_text(BASE + "container: {runtime: apptainer, image: ./x.sif, mounts: ['./m:/m']}\n")
    Path("mine/c.yaml").write_text("base: ../bases/b.yaml\nwarmup: {kernels: {cache_dir: ../k}}\nruns: ./r\n")
    config, _ = load_config("mine/c.yaml", sites=())
    here = Path.cwd()
    assert (config.container.image, config.container.mounts) == (f"{here}/bases/x.sif", [f"{here}/bases/m:/m"])
    assert config.warmup.kernels.cache_dir == f"{here}/k"
    assert config.runs == "./r"  # from where the job is submitted


def test_model_path_beside_the_config() -> None:
    Path("sub").mkdir()
    Path("sub/c.yaml").write_text(BASE.replace("/m", "./tiny"))
    config, _ = load_config("sub/c.yaml", sites=())
    assert config.model.path == str(Path("sub/tiny").resolve())
    assert config.served_name == "tiny"


def test_a_relative_path_belongs_to_the_file_that_has_it() -> None:
    for folder in ("bases", "mine", "site"):
        Path(folder).mkdir()
    Path("bases/b.yaml").write_text(BASE.replace("/m", "./tiny") + "python: ./venv/bin/python\n")
    Path("mine/c.yaml").write_text("base: ../bases/b.yaml\nname: mine\n")
    here = Path.cwd()
    config, _ = load_config("mine/c.yaml", sites=())
    assert (config.model.path, config.served_name) == (f"{here}/bases/tiny", "tiny")
    assert config.python == f"{here}/bases/venv/bin/python"
    Path("mine/c.yaml").write_text("base: ../bases/b.yaml\nmodel: {path: ./own}\n")
    config, _ = load_config("mine/c.yaml", ["python=./p"], sites=())
    assert (config.model.path, config.python) == (f"{here}/mine/own", f"{here}/p")  # an option's is here
    Path("site/site.yaml").write_text("python: ./p\n")
    Path("bases/b.yaml").write_text(BASE)
    config, _ = load_config("mine/c.yaml", sites=[Path("site/site.yaml")])
    assert config.python == f"{here}/site/p"


def test_a_place_in_whichever_spelling() -> None:
    _, source = load(BASE + "slurm:\n  cpus_per_task: 4\naggregated:\n  args:\n    --tp_size: 8\n")
    assert source.place("slurm", "cpus-per-task") == Place("c.yaml", 6, 3)
    assert source.place("aggregated", "args", "tp-size") == Place("c.yaml", 9, 5)
    assert source.place("aggregated", "args", "dp-size") == Place("c.yaml", 8, 3)
    assert source.place("nothing") == Place("c.yaml", 1, 1)
