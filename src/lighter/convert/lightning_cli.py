"""Configs of LightningCLI: `class_path` and `init_args` to definitions, its sections to ours.

What only the script that calls LightningCLI says (the classes of `model` and `data`, links between arguments, further
callbacks) is taken from the script if it is given, and is a gap or a note otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from lighter.config.check.other_tools import is_of_cli
from lighter.config.problems import Problem, indefinite, shortened
from lighter.config.tree import SEPARATOR, Node, is_reference
from lighter.convert.gaps import PLACEHOLDER, Gap, Gaps
from lighter.convert.interpolation import Interpolations, Path, Places
from lighter.convert.lightning_layers import ARGUMENTS, Stages, merged
from lighter.convert.lightning_script import Link, Script, with_script
from lighter.convert.nodes import added, below, called_later, dict_of
from lighter.convert.trainer import convert_trainer, put_argument, seed_of
from lighter.errors import ConfigError

_INSIDE = ("init_args", "dict_kwargs")
_SHORT = {
    "optimizer": "torch.optim",
    "lr_scheduler": "torch.optim.lr_scheduler",
    "callbacks": "pytorch_lightning.callbacks",
    "logger": "pytorch_lightning.loggers",
    "profiler": "pytorch_lightning.profilers",
    "strategy": "pytorch_lightning.strategies",
}
_CONFIGURES = (
    "It is in `vars::{name}`, without effect. Take it as an argument of your module, "
    "`model: {{make_{name}: '%vars::{name}'}}`, and call it in `configure_optimizers`: `self.make_{name}({first})`. "
    "A LighterModule takes it as `model::{name}`."
)
_FIRST = {"optimizer": "self.parameters()", "scheduler": "optimizer"}


def convert(trees: Sequence[Node], script: Script | None, gaps: Gaps) -> Node:
    """Return the converted tree of a config's files, with what the script says, if it is given."""
    source, stages = merged(trees, gaps)
    if script is not None:
        source = with_script(source, script)
    return _Converter(source, stages, script, gaps).tree()


class _Converter:
    def __init__(self, source: Node, stages: Stages, script: Script | None, gaps: Gaps) -> None:
        self.source, self.stages, self.script, self.gaps = source, stages, script, gaps
        self.places = Places()
        for section in ("model", "data", "trainer"):
            self.places.put([section], [section])
        self.places.put(["seed_everything"], ["seed"])
        for key in source.value.keys() - {"model", "data", "trainer", "seed_everything"}:
            self.places.put([str(key)], ["vars", "scheduler" if key == "lr_scheduler" else str(key)])
        self.interpolations = Interpolations(source, self._place, gaps)
        self.vars: dict[str, Node] = {}

    def _place(self, path: Path) -> Path | None:
        place = self.places(path)
        return None if place is None else tuple(step for step in place if step not in _INSIDE)

    def tree(self) -> Node:
        args = added({})
        sections = {
            "seed": self._seed(),
            "model": self._module("model"),
            "data": self._module("data"),
            "trainer": self._section("trainer"),
        }
        self._optimizers(sections["model"])
        self._arguments(args)
        self._others()
        trainer = sections["trainer"]
        if trainer is not None and isinstance(trainer.value, dict):
            convert_trainer(trainer, args, self.gaps)
        self._links(added({key: node for key, node in sections.items() if node is not None}))
        sections["vars"] = added(self.vars) if self.vars else None
        sections["args"] = args if args.value else None
        imports = {name: added(module) for name, module in self.interpolations.imports.items()}
        sections["_imports_"] = added(imports) if imports else None
        order = ("seed", "_imports_", "vars", "model", "data", "trainer", "args")
        return added({key: sections[key] for key in order if sections.get(key) is not None})

    def _seed(self) -> Node | None:
        node = self.source.child("seed_everything")
        if node is None or type(node.value) is not bool:
            return None if node is None else seed_of(node, "seed_everything", self.gaps)
        found = "LightningCLI draws a seed" if node.value else "LightningCLI sets no seed"
        self.gaps.note(node, "seed_everything", found, "Here it is 0 unless you write one: `seed: 1`.")
        return None

    def _module(self, section: str) -> Node | None:
        """Return the section of the module or of the data, whose class may be in the script only."""
        node = self.source.value.get(section)
        if node is None:
            if section == "model":
                found = "there is no `model`: its class is in the script"
                if self.script is not None:
                    found = "there is no `model`, and its class is not found in the script"
                self.gaps.open(self.source, section, found, "Write `model: {_target_: package.Module}`.")
                return added({"_target_": added(PLACEHOLDER)})
            if self.script is None:
                found = "there is no `data`; the script may have the class of a data module"
                self.gaps.note(None, section, found, "If it has: `data: {_target_: package.DataModule}`.")
            return None
        made = self._value(node, (section,))
        if isinstance(made.value, str):
            made = below(node, {"_target_": added(made.value)})
        if isinstance(made.value, dict) and "_target_" not in made.value:
            kind = "LightningModule" if section == "model" else "LightningDataModule"
            found = f"its class is only in the script, which gives LightningCLI a {kind}"
            write = f"Write `{section}::_target_`, in place of {PLACEHOLDER}"
            if self.script is None:
                write += "; or give the script too: it is read, not run"
            else:
                found = f"its class, a {kind}, is neither in the config nor found in the script"
            self.gaps.open(node, section, found, f"{write}.")
            made.value = {"_target_": added(PLACEHOLDER), **made.value}
        return made if made.value is not None else None

    def _section(self, key: str) -> Node | None:
        node = self.source.value.get(key)
        if node is None or node.value is None:
            return None
        dict_of(node, key)
        made = self._value(node, (key,))
        for name in ("logger", "callbacks", "profiler", "strategy"):
            if name in made.value:
                made.value[name] = self._named(made.value[name], name)
        return made

    def _named(self, node: Node, name: str) -> Node:
        """Return callbacks, loggers and the like with definitions in place of names of their classes."""
        if isinstance(node.value, list):
            return below(node, [self._of_class(item, name) for item in node.value])
        made = self._of_class(node, name)
        return below(node, [made]) if name == "callbacks" and made.value else made

    def _of_class(self, node: Node, name: str) -> Node:
        is_class = isinstance(node.value, str) and ("." in node.value or node.value[:1].isupper())
        if not is_class or is_reference(node.value):
            return node
        target = added(node.value if "." in node.value else f"{_SHORT[name]}.{node.value}")
        return below(node, {"_target_": target})

    def _value(self, node: Node, at: Path) -> Node:
        value = node.value
        if is_of_cli(value):
            return self._definition(node, at)
        if isinstance(value, dict):
            value = {key: self._value(child, (*at, str(key))) for key, child in value.items()}
        elif isinstance(value, list):
            value = [self._value(child, (*at, str(index))) for index, child in enumerate(value)]
        elif isinstance(value, str):
            value = self.interpolations.value(node, at)
        return below(node, value)

    def _definition(self, node: Node, at: Path) -> Node:
        named = node.value["class_path"]
        target = self._class(named, at)
        definition = {"_target_": Node(target, named.origin, named.key_origin)}
        if target.startswith("torch.optim.") and at[0] not in ("optimizer", "lr_scheduler"):
            definition = called_later(definition)
            found = f"{target} is passed on uncalled, as `OptimizerCallable` is"
            self.gaps.note(node, ".".join(at), found, "Nothing to write.")
        for holder in _INSIDE:
            for key, child in dict_of(node.value.get(holder), ".".join((*at, holder))).items():
                definition[key] = self._value(child, (*at, holder, str(key)))
        return below(node, definition)

    def _class(self, named: Node, at: Path) -> str:
        """Return the dotted name of a class, which LightningCLI finds by its last part if it is imported."""
        name = named.value
        if not isinstance(name, str) or not name:
            found = f"a class is a dotted name; found {indefinite(name)}"
            raise ConfigError([Problem(found, named.origin, ".".join((*at, "class_path")))])
        if "." in name:
            return name
        imported = self.script.names.get(name, "") if self.script is not None else ""
        if "." in imported.lstrip(".") and not imported.startswith("."):
            return imported
        section = next((step for step in reversed(at) if step in _SHORT), None)
        if name == "ReduceLROnPlateau":
            return "lightning.pytorch.cli.ReduceLROnPlateau"
        if section is not None:
            return f"{_SHORT[section]}.{name}"
        write = f"Write it, `_target_: package.{name}`"
        write += "; or give the script too, if it imports the class." if self.script is None else "."
        self.gaps.open(named, ".".join(at), f"`{name}` has no module", write)
        return f"{PLACEHOLDER}.{name}"

    def _optimizers(self, model: Node | None) -> None:
        target = model.value.get("_target_") if model is not None and isinstance(model.value, dict) else None
        for key, name in (("optimizer", "optimizer"), ("lr_scheduler", "scheduler")):
            node = self.source.value.get(key)
            if node is None or node.value is None:
                continue
            made = self._value(node, (key,))
            if model is not None and target is not None and str(target.value).startswith("lighter."):
                model.value[name] = _with_monitor(made)
                continue
            self.vars[name] = made
            if isinstance(made.value, dict) and "_target_" in made.value:
                made.value = called_later(made.value)
            found = "LightningCLI writes `configure_optimizers` of your module from it; here the module has its own"
            self.gaps.open(node, key, found, _CONFIGURES.format(name=name, first=_FIRST[name]))

    def _arguments(self, args: Node) -> None:
        for key in ARGUMENTS:
            node = self.source.value.get(key)
            if node is not None and node.value is not None:
                put_argument(
                    args, "fit" if key == "ckpt_path" else "test" if key == "verbose" else "predict", key, node
                )
        for stage, given in self.stages.items():
            for key, child in given.items():
                if child.value is not None:
                    put_argument(args, stage, key, child)
        weights = self.source.value.get("weights_only")
        if weights is not None and weights.value is not None:
            found = "a config does not decide this"
            self.gaps.open(weights, "weights_only", found, "Give `--weights_only` or `--no-weights_only`.")

    def _others(self) -> None:
        known = {"seed_everything", "model", "data", "trainer", "optimizer", "lr_scheduler", "weights_only"}
        for key, node in self.source.value.items():
            if key in known or key in ARGUMENTS or node.value is None:
                continue
            name = str(key)
            self.vars[name] = self._value(node, (name,))
            found = "the script adds this section, and says what it is for"
            write = f"It is in `vars`. Of a callback, add it to `trainer::callbacks` with its class: `%vars::{name}`."
            self.gaps.open(node, name, found, write)

    def _links(self, tree: Node) -> None:
        """Write references for the links of the script; without a script, note that there may be some."""
        if self.script is None:
            found = "links between arguments (`parser.link_arguments`), and defaults, are in the script only"
            self.gaps.note(
                None, "", found, "Give the script too, `lighter convert config.yaml main.py`: it is read, not run."
            )
            return
        for code, origin in self.script.unread:
            write = "Write what it does into the config, or into your module, in `setup` say."
            self.gaps.append(Gap(f"`{shortened(code, 80)}` is not understood", write, origin))
        for link in self.script.links:
            self._link(link, tree)

    def _link(self, link: Link, tree: Node) -> None:
        target, source = (self._place(tuple(path.split("."))) for path in (link.target, link.source))
        holder = tree.find(SEPARATOR.join(target[:-1])) if target is not None else None
        if target is None or source is None or holder is None or not isinstance(holder.value, dict):
            self._link_gap(link, "one of its ends is not in the config")
        elif link.computed:
            self._link_gap(link, "a function computes it")
        elif link.of_object:
            holder.value[target[-1]] = added(f"$@{'.'.join(source)}")
        elif tree.find(SEPARATOR.join(source)) is None:
            self._link_gap(link, f"`{link.source}` is not in the config, but a default")
        else:
            holder.value[target[-1]] = added(f"@{SEPARATOR.join(source)}")

    def _link_gap(self, link: Link, why: str) -> None:
        source, target = (path.replace(".init_args", "").replace(".", SEPARATOR) for path in (link.source, link.target))
        write = f"Write it: `{target}`, as `@{source}` or `$function(@{source})`."
        self.gaps.append(Gap(f"the link of {link.source} to {link.target}: {why}", write, link.origin))


def _with_monitor(scheduler: Node) -> Node:
    """Return a scheduler of LightningCLI that takes a monitor as ours: with the monitor beside it."""
    target = scheduler.value.get("_target_") if isinstance(scheduler.value, dict) else None
    if target is None or not str(target.value).endswith("cli.ReduceLROnPlateau"):
        return scheduler
    arguments = {**scheduler.value, "_target_": below(target, f"{_SHORT['lr_scheduler']}.ReduceLROnPlateau")}
    monitor = arguments.pop("monitor", None)
    return below(scheduler, {"scheduler": added(arguments), **({"monitor": monitor} if monitor is not None else {})})
