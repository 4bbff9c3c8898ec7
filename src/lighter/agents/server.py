"""The server of `lighter mcp`: the commands as tools. What trains has a budget, and goes on in the background."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

from mcp.server import MCPServer
from pydantic import Field

from lighter import __version__
from lighter.agents import bounds, jobs
from lighter.agents.budget import Budget
from lighter.agents.commands import Answer, command, run_command, texts
from lighter.errors import LighterError, RunError
from lighter.files.lock import LOCK, waited_for
from lighter.runs.read import Run, read_run
from lighter.runs.select import find_run

INSTRUCTIONS = """\
Lighter trains deep learning experiments that are configs in YAML. A config is changed by overrides, one word each:
`model::optimizer::lr=0.01` sets, `=a::b=...` replaces, `~a::b` deletes. Work in this order: `show`, `check` a config,
`fit` it, follow it with `status`, read `runs`. To claim that a change is better, use `try`, and no other means: it
trains both sides with the same seeds until that is decided. Changes of metrics, validation data or seeds are refused.
Only the verdict `better` of `try` is a claim; a single run that looks better is none. Every answer has `ok`,
`exit_code`, `result` (the command's JSON), `messages` and `budget`."""

Inputs = Annotated[
    list[str],
    Field(description="Config files, relative to the root folder, then overrides: ['digits.yaml', 'model::lr=0.1']"),
]
RunWord = Annotated[str, Field(description="A run: its id, the beginning of one, a name, a folder, or `last`.")]
Parameters = ParamSpec("Parameters")
Tool = Callable[Parameters, Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Tools:
    """The tools, bound to a folder and a budget. Each returns `ok`, `exit_code`, `result`, `messages` and `budget`."""

    root: Path
    budget: Budget
    safe: bool = False

    async def check(
        self,
        inputs: Inputs,
        stage: Annotated[str, Field(description="fit, validate, test or predict")] = "fit",
    ) -> dict[str, Any]:
        """Check a config without running it: all its mistakes, each with file, line, config path and a hint."""
        words = bounds.inputs(inputs, self.root)
        return self._said(await run_command(self.root, "check", "--json", "--stage", stage, *self._safe, "--", *words))

    async def show(self, inputs: Inputs) -> dict[str, Any]:
        """Show the config that files and overrides make together. Nothing is imported or run."""
        return self._said(await run_command(self.root, "show", "--json", "--", *bounds.inputs(inputs, self.root)))

    async def why(
        self,
        path: Annotated[str, Field(description="A config path: model::optimizer::lr")],
        inputs: Inputs,
    ) -> dict[str, Any]:
        """Tell where a value of a config comes from: every file and override that set it, in order."""
        return self._said(await run_command(self.root, "why", "--json", "--", path, *bounds.inputs(inputs, self.root)))

    async def fit(self, inputs: Inputs) -> dict[str, Any]:
        """Start a training in the background, which counts as one run. Follow it with `status`."""
        words = bounds.inputs(inputs, self.root)
        return self._started(jobs.FIT, ["fit", "--json", *self._safe, "--", *words], runs=1, at_least=1)

    async def try_(
        self,
        overrides: Annotated[
            list[str], Field(description="The change: overrides alone, ['model::optimizer::lr=0.01']")
        ],
        against: Annotated[RunWord, Field(description="The baseline: a finished fit or an experiment.")],
        metric: Annotated[str | None, Field(description="A metric of validation; the first try fixes it.")] = None,
        max_pairs: Annotated[int, Field(ge=1, description="Undecided after so many pairs of fits.")] = 20,
        allow_budget: Annotated[bool, Field(description="Let the change train longer or shorter.")] = False,
    ) -> dict[str, Any]:
        """Start to find out whether a change of a baseline is better: the only way to claim that it is.

        Both sides are trained with the same seeds, pair after pair, in the background; `status` has the verdict in the
        end: better (exit code 0), worse (10), undecided (11). A change of what evaluates is refused (2). Each try
        counts, so that of many useless changes few are kept: do not try variants at random.
        """
        if self.safe:
            raise RunError(
                "a try runs the config of its baseline as one that you trust, and this server runs with --safe"
            )
        options = [*texts("--metric", [metric] if metric else []), *texts("--allow", ["budget"] * allow_budget)]
        words = ["try", "--against", bounds.inside(against, self.root), *options, "--json"]
        changes = bounds.inputs(overrides, self.root)
        # two fits for a pair, of which a seventh is the first that can decide
        left, _ = self.budget.granted(at_least=2 * LEAST_PAIRS)
        pairs = min(max_pairs, left // 2)
        runs = 2 * pairs
        # another server may have taken some meanwhile
        at_least = max(runs, 2 * LEAST_PAIRS)
        command_words = [*words, "--max_pairs", str(pairs), "--", *changes]
        return self._started(jobs.TRY, command_words, runs=runs, at_least=at_least)

    async def status(
        self, job: Annotated[int | None, Field(description="The number of a job; by default the newest.")] = None
    ) -> dict[str, Any]:
        """Tell how far a training is, and its result once it has ended. Without any, only the budget."""
        jobs.reap()
        if job is None and not jobs.jobs_in(self.root):
            return self._said(Answer(0, None, "no training was started here"))
        found = jobs.find(self.root, job)
        said = found.answer()
        run_of_job = self._run(found) if found.kind == jobs.FIT else None
        state = {
            "job": found.number,
            "kind": found.kind,
            "status": found.status,
            "words": list(found.words[3:]),
            "seconds": round(found.seconds, 1),
            "stopped_by_budget": bool((found.end or {}).get("stopped_by_budget")),
            "run": run_of_job.summary() if run_of_job is not None else None,
            "result": said.result,
        }
        return self._said(Answer(said.code, state, said.messages))

    async def stop(
        self, job: Annotated[int | None, Field(description="By default the newest.")] = None
    ) -> dict[str, Any]:
        """Ask a training to save and stop. A try that was stopped resumes when it is started again."""
        found = jobs.find(self.root, job)
        found.stop()
        return self._said(Answer(0, {"job": found.number, "was_running": found.status == jobs.RUNNING}, ""))

    async def runs(
        self,
        run: Annotated[
            str | None, Field(description="One run, to show its whole record: an id, a name, `last`.")
        ] = None,
        where: Annotated[list[str], Field(description="Conditions: ['val/loss<0.3']")] = [],  # noqa: B006
        limit: Annotated[int, Field(ge=0, description="At most so many, the newest first; 0 for all.")] = 20,
    ) -> dict[str, Any]:
        """List runs with status and metrics, or show the record of one: config, code, data, outcome."""
        if run is not None:
            return self._said(
                await run_command(self.root, "runs", "show", "--json", "--", bounds.inside(run, self.root))
            )
        found = await run_command(self.root, "runs", "list", "--json", *texts("--where", where))
        rows = found.result[: limit or None] if isinstance(found.result, list) else found.result
        return self._said(Answer(found.code, rows, found.messages))

    async def compare(
        self,
        sides: Annotated[list[str], Field(description="Two or more: runs, experiments, EXP/trial-3, or NAME=SIDE.")],
        metric: Annotated[str | None, Field(description="By default the experiments' objective.")] = None,
        allow: Annotated[list[str], Field(description="Compare in spite of: data, split, metric, code, ...")] = [],  # noqa: B006
    ) -> dict[str, Any]:
        """Compare finished runs or experiments: verdict, intervals, p-values. Single runs decide nothing: use `try`."""
        options = [*texts("--metric", [metric] if metric else []), *texts("--allow", allow)]
        words = [bounds.inside(side, self.root) for side in sides]
        return self._said(await run_command(self.root, "compare", "--json", *options, "--", *words))

    async def report(
        self,
        about: Annotated[list[str], Field(description="Runs or experiments; empty for all runs.")],
        output: Annotated[str, Field(description="The page to write, relative to the root folder.")] = "report.html",
    ) -> dict[str, Any]:
        """Write a page about runs or an experiment, with curves and verdicts, for people to look at."""
        words = [bounds.inside(each, self.root) for each in about]
        return self._said(
            await run_command(self.root, "report", "--json", "-o", bounds.inside(output, self.root), "--", *words)
        )

    @property
    def _safe(self) -> list[str]:
        return ["--safe"] * self.safe

    def _said(self, answer: Answer) -> dict[str, Any]:
        return {**answer.public(), "budget": self.budget.public()}

    def _started(self, kind: str, words: list[str], *, runs: int, at_least: int) -> dict[str, Any]:
        jobs.reap()
        home = self.root / jobs.HOME
        home.mkdir(exist_ok=True)
        with waited_for(home / LOCK):
            _, seconds = self.budget.granted(at_least)
            job = jobs.start(self.root, kind, command(*words), runs=runs, seconds=seconds)
        return self._said(Answer(0, {"job": job.number, "kind": kind, "status": job.status}, "follow it with `status`"))

    def _run(self, job: jobs.Job) -> Run | None:
        folder = job.run_folder
        return read_run(find_run(folder, self.root).path) if folder is not None else None


LEAST_PAIRS = 7  # as `evidence.least_pairs` has it of the first 100 tries


def make_server(tools: Tools) -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("lighter", instructions=INSTRUCTIONS, version=__version__, log_level="WARNING")
    for name in ("check", "show", "why", "fit", "try", "status", "stop", "runs", "compare", "report"):
        method = getattr(tools, "try_" if name == "try" else name)
        server.add_tool(_with_mistakes(method, tools), name=name)
    return server


def _with_mistakes(tool: Tool[Parameters], tools: Tools) -> Tool[Parameters]:
    """Answer with the message where an agent's words are wrong, as for a command that ends with an error."""

    @wraps(tool)
    async def answered(*arguments: Parameters.args, **named: Parameters.kwargs) -> dict[str, Any]:
        try:
            return await tool(*arguments, **named)
        except LighterError as error:
            return {**Answer(error.exit_code, None, str(error)).public(), "budget": tools.budget.public()}

    return answered
