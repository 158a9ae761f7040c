"""Dynamo's mocker in a recipe: its flags are alike for all roles here, or SGLang's own."""

from __future__ import annotations

from dataclasses import replace

from launcher.convert.draft import Draft, entry
from launcher.convert.flags import RoleFlags, one_line
from launcher.convert.layout import Shape
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Comment, Item, Section, plain
from launcher.engines.mocker import TRANSLATED

_SGLANG = {mocker: sglang for sglang, mocker in TRANSLATED.items()}
_SETTINGS = (
    "speedup_ratio",
    "decode_speedup_ratio",
    "num_gpu_blocks_override",
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "data_parallel_size",
    "num_workers",
    "startup_time",
    "kv_transfer_bandwidth",
    "kv_cache_dtype",
    "preemption_mode",
)
_SWITCHES = ("enable_prefix_caching", "enable_chunked_prefill")


def role_flags(section: Section, shape: Shape, ledger: Ledger, others: list[Item]) -> RoleFlags:
    """A role's own mocker flags under SGLang's names; tp-size gives the worker its nodes.

    Those without such a name are added to `others`.
    """
    size = Item(
        "tp-size",
        shape.gpus or 1,
        beside=Comment("# for the layout; the mocker needs no GPU", 0),
    )
    out = {"tp-size": size}
    for item in section.items:
        name = item.key.removeprefix("--").replace("_", "-")
        value, reason = one_line(plain(item.value))
        if name in _SGLANG and not reason and not isinstance(value, (dict, list, bool)):
            out[_SGLANG[name]] = replace(item, key=_SGLANG[name], value=value)
            ledger.use(item)
        elif reason or value is None or isinstance(value, dict):
            ledger.drop(item, reason or "it has no value that fits")
        else:
            others.append(replace(item, key=name, value=value))
    return RoleFlags(Section(tuple(out.values())), {})


def settings(backend: Section, others: list[Item], draft: Draft, ledger: Ledger) -> None:
    """The flags that the recipe gives all roles, as the config's `mocker`."""
    draft.engine = "mocker"
    given = {item.key: item for item in backend.items}
    if "speedup_ratio" not in given:
        beside = Comment("# srtctl's default", 0)
        draft.mocker.append(Item("speedup-ratio", 100, beside=beside))
    for key in _SETTINGS:
        item = given.get(key)
        if item is None or isinstance(item.value, (Section, list)):
            continue
        value, reason = one_line(item.value)
        flag = key.replace("_", "-")
        own = _SGLANG.get(flag)
        if value is None or reason:
            ledger.drop(item, reason or "it has no value")
        elif own and any(role.args.get(own) for role in draft.roles.values()):
            # `mocker` would win over a role's own value
            for role in draft.roles.values():
                if role.args.get(own) is None:
                    items = (*role.args.items, Item(own, value))
                    role.args = replace(role.args, items=items)
            ledger.use(item)
        else:
            draft.mocker.append(entry(flag, value, item))
            ledger.use(item)
    for key in _SWITCHES:
        item = given.get(key)
        if item is not None and isinstance(item.value, bool):
            if not item.value:
                draft.mocker.append(entry(f"no-{key.replace('_', '-')}", True, item))
            ledger.use(item)
    common = {item.key for item in draft.mocker}
    for item in others:
        alike = [o for o in others if o.key == item.key and o.value == item.value]
        if item.key in common or len(alike) < len(draft.roles):
            ledger.drop(item, "the mocker's flags are alike for all roles (mocker)")
            continue
        ledger.use(item)
        if alike[0] is item:
            draft.mocker.append(item)
