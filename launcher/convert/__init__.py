"""Files of other launchers become configs: `sgl-launch convert`.

`convert_text` is pure: a file's text in, a config's text and notes out. Each module has one idea:

    kinds              what is converted, and what is refused by name
    reader, comments   the file, with the place and the comments of every key   (tree)
    variants           one recipe out of a file of several
    service, recipe    what the keys of each kind of file mean                  (draft, site, dynamo, mocker)
    schema2            srt-slurm's second schema in the shape of the first
    argv               command lines, as the service file that says the same
    cluster            srt-slurm's cluster file: a site file, and what names stand for
    flags              SGLang's flags under the names of one version
    ledger, reasons    what became of each key: nothing goes without a word
    layout             the plan against what the source meant
    writer, footer     the config's text
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.base.errors import InputError, Place, Problem
from launcher.catalog.catalog import Catalog, load
from launcher.catalog.pairs import of_image
from launcher.catalog.releases import CatalogError, nearest_version
from launcher.config.load import Source, validate
from launcher.config.yamlpos import parse
from launcher.convert.argv import service_of, slurm_jobs
from launcher.convert.cluster import aliases, convert_cluster, resolved
from launcher.convert.draft import Draft, problem
from launcher.convert.footer import TITLES, footer, homeless
from launcher.convert.kinds import kind_of
from launcher.convert.layout import Shape, fit
from launcher.convert.ledger import Ledger, Note
from launcher.convert.reader import read, read_text
from launcher.convert.recipe import convert_recipe, image_version, knows_its_flags
from launcher.convert.service import convert_service
from launcher.convert.tree import Comment, Item, Section, spoken
from launcher.convert.variants import choose, first_of_sweep, has_variants, selected, variants
from launcher.convert.writer import flow, render
from launcher.plan.make import make_plan

# Where the source's image does not say which SGLang it holds: the one that Dynamo 1.4 is made for.
SGLANG = "0.5.16"

__all__ = ["SGLANG", "Converted", "Note", "convert_command", "convert_file", "convert_text", "selectors"]


@dataclass(frozen=True)
class Converted:
    """A config's text, what there is to say about it, and why it can't be planned, if it can't."""

    text: str
    notes: tuple[Note, ...]
    problems: tuple[Problem, ...] = ()


def convert_file(
    path: Path,
    variant: str | None = None,
    sglang: str | None = None,
    more: Sequence[Path] = (),
    srtslurm: Path | None = None,
) -> Converted:
    """`more` are further service files of the same deployment; `srtslurm` is the cluster file of a recipe.

    Raises InputError for a file that is not converted.
    """
    found = aliases(read(read_text(srtslurm), str(srtslurm))[0]) if srtslurm else {}
    beside = [(read_text(p), str(p)) for p in more]
    return convert_text(read_text(path), str(path), variant, sglang, beside, found)


def selectors(text: str, source: str) -> list[str]:
    """What `variant` can be for this file; empty for a file of one recipe."""
    root, _ = read(text, source)
    return [v.selector for v in variants(root)] if has_variants(root) else []


def convert_command(words: Sequence[str], sglang: str | None = None) -> Converted:
    """A server's command line, or several set apart by `--`, as a config. Raises InputError."""
    catalog = _catalog(sglang or SGLANG)
    ledger = Ledger()
    root, engine = service_of(words, catalog)
    draft, shapes = convert_service(root, "converted", catalog, ledger)
    draft.engine = engine
    slurm_jobs(root, draft, ledger)
    ledger.settle(root)
    return _planned(draft, shapes, catalog, sglang or SGLANG, "the command line", "a command line", root, (), ledger)


def convert_text(
    text: str,
    source: str,
    variant: str | None = None,
    sglang: str | None = None,
    more: Sequence[tuple[str, str]] = (),
    names: Mapping[str, Mapping[str, str]] | None = None,
) -> Converted:
    """The file's text as a config, for the SGLang that its image has or for `sglang`. `source` is its path, for
    messages and a name; `more` are further service files of the same deployment, `names` what a cluster file's names
    stand for.

    Raises InputError for a file that is not converted: not YAML, another kind, another backend.
    """
    root, doubles = read(text, source)
    ledger = Ledger()
    ledger.notes += [Note("dropped", "given again below, which counts", *double) for double in doubles]
    kind = kind_of(root, source)
    if more and kind != "service":
        raise InputError(Problem("several files are the service files of one deployment; this is none", Place(source)))
    if kind == "cluster":
        tree = convert_cluster(root, ledger)
        ledger.settle(root)
        return _written(tree, source, "srt-slurm's cluster file, as a site file", root, (), ledger)
    if kind == "service":
        if variant is not None:
            raise InputError(Problem("a service file has no variants", Place(source)))
        root = _together(root, more)
        head, part = _without_head(root.items[0].above, root)
        chosen = sglang or SGLANG
        catalog = _catalog(chosen)
        draft, shapes = convert_service(part, Path(source).stem, catalog, ledger)
        what, draft.under = "Dynamo service file", root.items[-1].under
    else:
        what, part, head, title = _recipe(root, source, variant, ledger)
        part = resolved(part, names or {})
        told = sglang or image_version(part)
        chosen = told or knows_its_flags(part, SGLANG)
        catalog = _catalog(chosen)
        draft, shapes = convert_recipe(part, title, catalog, ledger)
        if not told and draft.engine != "mocker":
            ledger.to_set(f"sglang_version: nothing says which SGLang the image holds; {chosen} is written")
    ledger.settle(root)
    _image_version(draft, catalog, ledger)
    return _planned(draft, shapes, catalog, chosen, source, what, part, head, ledger)


def _planned(
    draft: Draft,
    shapes: list[Shape],
    catalog: Catalog,
    version: str,
    source: str,
    what: str,
    part: Section,
    head: Sequence[Comment],
    ledger: Ledger,
) -> Converted:
    draft.sglang_version = version.strip().removeprefix("v")
    _transfer_backend(draft, catalog, ledger)
    draft, differences = fit(draft, shapes)
    for line in differences:
        ledger.warn(line)
    return _finished(draft, source, what, part, head, ledger)


def _together(root: Section, more: Sequence[tuple[str, str]]) -> Section:
    """The services of all files; one that several have is the first file's."""
    items = {item.key: item for item in root.items}
    for text, source in more:
        other, _ = read(text, source)
        if kind_of(other, source) != "service":
            raise InputError(Problem("not a service file, as the first is", Place(source)))
        for item in other.items:
            items.setdefault(item.key, item)
    return Section(tuple(items.values()))


def _catalog(version: str) -> Catalog:
    try:
        return load(nearest_version(version))
    except CatalogError as e:
        raise InputError(Problem(str(e), Place(f"--sglang {version}"))) from None


def _recipe(
    root: Section, source: str, variant: str | None, ledger: Ledger
) -> tuple[str, Section, tuple[Comment, ...], str]:
    """What it is, the one recipe, the comment at the file's head, and the recipe's name."""
    what, head, recipe = "srt-slurm recipe", root.items[0].above, root
    name = root.get("name")
    title = str(name.value) if name else Path(source).stem
    if has_variants(root):
        chosen = choose(variants(root), variant, source)
        for item in selected(root, chosen):
            if item.key.startswith(("override_", "zip_override_")):
                ledger.leave(item, "another recipe of the file; --variant converts it")
        ledger.use(*chosen.replaced)
        recipe, title = chosen.recipe, chosen.name
        if not recipe.items:
            raise InputError(problem("the recipe is empty", root.get("base") or root.items[0]))
        what = f"srt-slurm recipe, variant {chosen.selector}"
        key = chosen.selector.split("[")[0]
        own = root.get(key)
        if own is not None and own is not root.items[0]:
            head += spoken(own.above)
        ledger.use(root.get("schema"), root.get(key, "name"))
    elif variant is not None:
        raise InputError(Problem("the file has no variants", Place(source)))
    recipe, first = first_of_sweep(recipe)
    if first:
        taken = ", ".join(f"{k}={flow(v)}" for k, v in first.items())
        ledger.warn(f"a sweep; its first values are taken: {taken}", recipe.get("sweep"))
    head, recipe = _without_head(head, recipe)
    return what, recipe, head, title


def _without_head(head: tuple[Comment, ...], part: Section) -> tuple[tuple[Comment, ...], Section]:
    """The file's own comment, and the keys without it.

    It ends at the last empty line above the first key; the lines below that are the key's.
    """
    if not part.items or part.items[0].above != head:
        return head, part
    ends = [n for n, c in enumerate(head) if not c.text]
    split = ends[-1] if ends else len(head)
    first = replace(part.items[0], above=head[split + 1 :])
    return head[:split], replace(part, items=(first, *part.items[1:]))


def _transfer_backend(draft: Draft, catalog: Catalog, ledger: Ledger) -> None:
    """A source without one means SGLang's default; sgl-launch's own is another."""
    flag = "disaggregation-transfer-backend"
    known = catalog.flag(flag)
    if draft.engine == "mocker" or "aggregated" in draft.roles or known is None:
        return
    for role in draft.roles.values():
        if role.args.get(flag) is None:
            beside = Comment("# SGLang's default, which the source leaves it at", 0)
            item = Item(flag, known.default, beside=beside)
            role.args = replace(role.args, items=(*role.args.items, item))


def _image_version(draft: Draft, catalog: Catalog, ledger: Ledger) -> None:
    """The image may hold an SGLang that knows other names."""
    image = next((str(i.value) for i in draft.container if i.key == "image"), "")
    held = of_image(image).sglang
    if held and nearest_version(held) != catalog.version:
        ledger.warn(f"the image's name says SGLang {held}, and the flags are those of {catalog.version}, as asked for")


def _finished(
    draft: Draft,
    source: str,
    what: str,
    part: Section,
    head: Sequence[Comment],
    ledger: Ledger,
) -> Converted:
    return _written(draft.tree(), source, what, part, head, ledger)


def _written(
    tree: Section, source: str, what: str, part: Section, head: Sequence[Comment], ledger: Ledger
) -> Converted:
    first = [f"Converted by `sgl-launch convert` from {Path(source).name} ({what})."]
    first += _header(head)
    text = render(tree, first, [])
    problems = _problems(text, source) if tree.get("model") else []
    for p in problems:
        ledger.warn(f"{p.key}: {p.message}" if p.key else p.message)
    foot = footer(ledger, homeless(part, tree, head, ledger))
    return Converted(
        render(tree, first, foot),
        tuple(note for kind in TITLES for note in ledger.of(kind)),
        tuple(problems),
    )


def _header(head: Sequence[Comment]) -> list[str]:
    lines = [c.text[1:].removeprefix(" ").rstrip() for c in head]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _problems(text: str, source: str) -> list[Problem]:
    """Why the config can't be planned."""
    name = f"{Path(source).stem} (converted)"
    try:
        data, places = parse(text, name)
        found = Source(name, places)
        make_plan(validate(data, found), found)
    except InputError as e:
        return list(e.problems)
    return []
