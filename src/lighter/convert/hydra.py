"""Hydra configs to ours: a tree of `_target_`s, as projects with one script for training have them.

The sections that such a script builds and puts together (`data` or `datamodule`, `model`, `callbacks`, `logger`,
`trainer`) become ours. What they refer to goes into `vars`; what only the script can have read is a gap.
"""

from __future__ import annotations

from lighter.config.tree import SEPARATOR, Node, is_target
from lighter.convert.gaps import PLACEHOLDER, Gaps
from lighter.convert.hydra_search import convert_search
from lighter.convert.interpolation import Interpolations, Path, Places, referred
from lighter.convert.nodes import added, below, called_later, dict_of
from lighter.convert.trainer import LIGHTNING, convert_trainer, put_argument, seed_of

_MODELS = ("model", "module", "lightning_module", "lit_module", "lit_model", "pl_module", "pl_model", "litmodule")
_DATAS = ("data", "datamodule", "data_module", "lightning_datamodule", "pl_datamodule", "dm")
_LISTS = ("callbacks", "logger", "loggers")
_GETTERS = tuple(f"hydra.utils.{name}" for name in ("get_method", "get_class", "get_object", "get_static_method"))
_OF_SCRIPT = {
    "tags": "A run is found by `lighter runs list`, by any value of its config.",
    "train": "The command says it: `lighter fit`.",
    "test": "The command says it: `lighter test CONFIG --ckpt_path best`.",
    "print_config": "`lighter show CONFIG` prints the merged config.",
    "extras": "`lighter show CONFIG` prints the merged config; `python -W ignore -m lighter` hides warnings.",
    "optimized_metric": "It is `experiment::objective`.",
    "compile": "Call `torch.compile` in the module.",
}
_HYDRA = {
    "sweeper": ("a search is an experiment", "It is the section `experiment`, for `lighter sweep`.", False),
    "run": ("a run has a folder of its own", "Nothing to write; `run: {dir: outputs, name: ...}` changes it.", False),
    "sweep": ("an experiment has a folder of its own", "Nothing to write.", False),
    "job_logging": ("a run's output is in its `run.log`", "Nothing to write.", False),
    "hydra_logging": ("a run's output is in its `run.log`", "Nothing to write.", False),
    "launcher": ("where jobs run", "Write `experiment: {executor: {kind: slurm}}`: see docs/10-experiments.md.", True),
}


def convert(source: Node, gaps: Gaps) -> Node:
    """Return the converted tree of a composed config."""
    found = "what the script (`@hydra.main`) does with the objects is not in a config"
    gaps.note(None, "", found, "Here `lighter fit` hands the data to the trainer, and no more.")
    return _Converter(source, gaps).tree()


class _Converter:
    def __init__(self, source: Node, gaps: Gaps) -> None:
        self.source, self.gaps = source, gaps
        self.names = {
            "model": next((key for key in _MODELS if key in source.value), None),
            "data": next((key for key in _DATAS if key in source.value), None),
            "trainer": "trainer" if "trainer" in source.value else None,
        }
        self.lists = [key for key in _LISTS if key in source.value and self._is_moved(key)]
        self.reached = self._reached()
        self.places = self._places()
        self.experiment: Node | None = None
        self.interpolations = Interpolations(source, self.places, gaps)

    def _is_moved(self, key: str) -> bool:
        """Return whether the script passes a top-level `callbacks` on: not where the trainer has its own."""
        own = self.source.section("trainer").get(key.rstrip("s") if key == "loggers" else key)
        return own is None or own.value is None or str(own.value).startswith("${")

    def _reached(self) -> set[Path]:
        """Return the paths that the sections refer to, and what is there refers to."""
        waiting: list[Path] = [(str(name),) for name in (*self.names.values(), *self.lists) if name is not None]
        reached: set[Path] = set()
        while waiting:
            path = self._with_list(waiting.pop())
            node = self.source.find(SEPARATOR.join(path))
            if node is None or path in reached:
                continue
            reached.add(path)
            for inside, child in node.walk():
                at = (*path, *inside.split(SEPARATOR)) if inside else path
                waiting += referred(child.value, at)
        return reached

    def _with_list(self, path: Path) -> Path:
        """Return the path of the outermost list that a path leads into: its items keep their indices together."""
        for length in range(1, len(path)):
            node = self.source.find(SEPARATOR.join(path[:length]))
            if node is None or isinstance(node.value, list):
                return path[:length]
        return path

    def _places(self) -> Places:
        places = Places()
        for section, name in self.names.items():
            if name is not None:
                places.put([name], [section])
        for key in self.lists:
            self._put_list(places, key)
        moved = {*self.names.values(), *self.lists, "hydra"}
        for key in self.source.value:
            if key not in moved:
                places.put([str(key)], ["seed"] if key == "seed" else ["vars", str(key)])
        return places

    def _put_list(self, places: Places, key: str) -> None:
        section = "logger" if key == "loggers" else key
        places.put([key], ["trainer", section])
        node = self.source.value[key]
        if isinstance(node.value, dict) and not is_target(node.value):
            for index, name in enumerate(name for name, item in node.value.items() if _is_object(item)):
                places.put([key, str(name)], ["trainer", section, str(index)])

    def tree(self) -> Node:
        args = added({})
        model, data = (self._section(name) for name in ("model", "data"))
        trainer = self._trainer(args)
        seed, run = self._seed(), self._run()
        self._checkpoint(args)
        held: dict[str, Node] = {}
        for key, node in self.source.value.items():
            kept = self._other(str(key), node)
            if kept is not None:
                held[str(key)] = kept
        imports = {name: added(module) for name, module in self.interpolations.imports.items()}
        sections = {
            "run": run,
            "seed": seed,
            "_imports_": added(imports),
            "vars": added(held),
            "model": model,
            "data": data,
            "trainer": trainer,
            "args": args,
            "experiment": self.experiment,
        }
        return added({key: node for key, node in sections.items() if node is not None and node.value not in ({}, None)})

    def _section(self, section: str) -> Node | None:
        name = self.names[section]
        if name is None:
            if section == "model":
                found = f"there is no section of the module: {', '.join(_MODELS[:3])}, ..."
                self.gaps.open(self.source, section, found, "Write `model: {_target_: package.Module}`.")
            return None
        made = self._value(self.source.value[name], (name,))
        if isinstance(made.value, dict) and not is_target(made.value):
            found = "it has no `_target_`: the script makes it in its own way"
            self.gaps.open(made, name, found, f"Write the class: `{section}::_target_`.")
            made.value = {"_target_": added(PLACEHOLDER), **made.value}
        return made

    def _trainer(self, args: Node) -> Node:
        name = self.names["trainer"]
        node = self.source.value[name] if name is not None else added({})
        made = self._value(below(node, {**dict_of(node, "trainer")}), ("trainer",))
        target = made.value.get("_target_")
        if target is not None and target.value in LIGHTNING:
            del made.value["_target_"]
            found = f"`lighter.Trainer`, a subclass, takes the place of {target.value}"
            self.gaps.note(
                target, "trainer._target_", found, "Nothing to write; with `_target_` it is Lightning's own."
            )
        for key in self.lists:
            items = self._list(key)
            section = "logger" if key == "loggers" else key
            made.value.pop(section, None)
            if items.value:
                made.value[section] = items
        convert_trainer(made, args, self.gaps)
        return made

    def _list(self, key: str) -> Node:
        """Return callbacks or loggers, which Hydra's projects have by name, as the list that the trainer takes."""
        node = self.source.value[key]
        if isinstance(node.value, dict) and not is_target(node.value):
            items = []
            for name, item in node.value.items():
                if _is_object(item):
                    made = self._value(item, (key, str(name)))
                    items.append(made)
                elif item.value is not None:
                    found = "it has no `_target_`: another file would add it, which is not chosen"
                    self.gaps.note(item, f"{key}.{name}", found, "Left out, as the script does.")
            return below(node, items)
        made = self._value(node, (key,))
        return below(node, [made]) if isinstance(made.value, dict) else made

    def _seed(self) -> Node | None:
        node = self.source.child("seed")
        return None if node is None else seed_of(node, "seed", self.gaps)

    def _run(self) -> Node | None:
        node = self.source.value.get("task_name")
        if node is None or not isinstance(node.value, str) or "${" in node.value:
            return None
        return added({"name": node})

    def _checkpoint(self, args: Node) -> None:
        node = self.source.value.get("ckpt_path")
        if node is not None and node.value == "???":
            self.gaps.open(
                node, "ckpt_path", "the checkpoint is to be given", "Give it: `lighter test CONFIG --ckpt_path PATH`."
            )
        elif node is not None and node.value:
            put_argument(args, "fit", "ckpt_path", self._value(node, ("ckpt_path",)))

    def _other(self, key: str, node: Node) -> Node | None:
        """Return what stays of another section, in `vars`; None where nothing does."""
        if key in self.names.values() or key in self.lists or key in ("seed", "ckpt_path"):
            return None
        if key == "hydra":
            self._of_hydra(node)
            return None
        if any(path[:1] == (key,) for path in self.reached):
            return self._part(node, (key,))
        if key in _OF_SCRIPT or key == "task_name":
            self.gaps.note(node, key, "it is for the script", _OF_SCRIPT.get(key, "It is `run::name`."))
            return None
        if key == "paths" or node.value is None:
            return None
        found = "nothing in the config reads it; the script may"
        self.gaps.open(node, key, found, f"It is in `vars`. If your code needs it, refer to it: `@vars::{key}`.")
        return self._value(node, (key,))

    def _part(self, node: Node, path: Path) -> Node | None:
        """Return what is referred to of a section; a note for the rest."""
        if any(path[: len(there)] == there for there in self.reached):
            return self._value(node, path)
        if not isinstance(node.value, dict) or not any(there[: len(path)] == path for there in self.reached):
            self.gaps.note(node, ".".join(path), "nothing in the config reads it", "Left out.")
            return None
        parts = {key: self._part(child, (*path, str(key))) for key, child in node.value.items()}
        return below(node, {key: part for key, part in parts.items() if part is not None})

    def _of_hydra(self, node: Node) -> None:
        for key, child in node.value.items() if isinstance(node.value, dict) else ():
            if key == "sweeper":
                self.experiment = convert_search(child, self.source.child("optimized_metric"), self.places, self.gaps)
            default = ("a setting of Hydra", "Nothing to write.", False)
            found, write, is_open = _HYDRA.get(str(key), default)
            (self.gaps.open if is_open else self.gaps.note)(child, f"hydra.{key}", found, write)

    def _value(self, node: Node, at: Path) -> Node:
        value = node.value
        if isinstance(value, dict):
            value = self._definition(node, at) if is_target(value) else self._items(node, at)
        elif isinstance(value, list):
            value = [self._value(child, (*at, str(index))) for index, child in enumerate(value)]
        elif value == "???":
            self.gaps.open(node, ".".join(at), "a value is to be given (`???`); here is null", "Write the value.")
            value = None
        elif isinstance(value, str):
            value = self.interpolations.value(node, at)
        return below(node, value)

    def _items(self, node: Node, at: Path) -> dict[str, Node]:
        return {key: self._value(child, (*at, str(key))) for key, child in node.value.items()}

    def _definition(self, node: Node, at: Path) -> dict[str, Node]:
        """Return a definition in our words: `_partial_` is `_mode_: callable`, and so on."""
        made = self._items(node, at)
        target = below(made["_target_"], self.interpolations.text_of(node.value["_target_"], (*at, "_target_")))
        made = {"_target_": target, **{key: child for key, child in made.items() if key != "_target_"}}
        if target.value in _GETTERS and isinstance(getattr(made.get("path"), "value", None), str):
            return called_later({"_target_": below(target, made["path"].value)})
        partial = made.pop("_partial_", None)
        if partial is not None and partial.value is not False:
            made = called_later(made)
        elif str(target.value).startswith("torch.optim.") and not {"params", "optimizer"} & made.keys():
            found = f"{target.value} without `_partial_`: the module instantiates it itself"
            write = "Here it gets a function (`_mode_: callable`): call it with the parameters, or the optimizer."
            self.gaps.open(target, ".".join(at), found, write)
            made = called_later(made)
        self._switches(made, ".".join(at))
        return made

    def _switches(self, made: dict[str, Node], path: str) -> None:
        """Take switches of Hydra out of a definition that have no counterpart."""
        recursive, kind = made.pop("_recursive_", None), made.pop("_convert_", None)
        if recursive is not None and recursive.value is False:
            found = "`_recursive_: false`: its constructor gets definitions, and instantiates them itself"
            write = "Here it gets the objects: leave `hydra.utils.instantiate` out there."
            self.gaps.open(recursive, path, found, write)
        if kind is not None and kind.value == "none":
            found = "`_convert_: none`: its constructor gets OmegaConf's containers"
            self.gaps.note(kind, path, found, "Here it gets dicts and lists.")


def _is_object(node: Node) -> bool:
    return is_target(node.value) or (isinstance(node.value, str) and node.value.startswith("${"))
