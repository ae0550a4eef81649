"""The command line: `python -m lib_lora_train train | resume | regularise | inspect | import | export`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError, TrainLoraError
from ..settings import recipe
from ..settings.load import from_mapping, to_mapping
from ..settings.schema import Settings
from .trust import typed_folder

if TYPE_CHECKING:
    from .jobs import JobRunner

EXIT_FAILED, EXIT_REFUSED, EXIT_STOPPED, EXIT_ABORTED = 1, 2, 3, 130
_CODES = """exit codes: 0 finished; 1 failed; 2 refused before it began (a wrong option, a missing file);
3 stopped with Ctrl-C and kept; 130 aborted with a second Ctrl-C, `resume` goes on from the last saved state"""
_CODE_OF = {"done": 0, "failed": EXIT_FAILED, "stopped": EXIT_STOPPED}
_FOLDERS = ("train_data_dir", "reg_data_dir", "conditioning_data_dir")


def main(argv: list[str] | None = None) -> int:
    """The exit code."""
    _any_letters(sys.stdout)
    args = _parser().parse_args(argv)
    try:
        return args.command(args)
    except TrainLoraError as error:
        print(f"{error.message}\n{error.remedy}".strip(), file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_ABORTED


def _any_letters(stream: Any) -> None:
    """A console or a pipe that knows few letters (Windows: cp1252) shows `?` instead of ending the program; what goes
    into a file is UTF-8, unless the user chose otherwise."""
    if not hasattr(stream, "reconfigure"):  # a test's, a notebook's
        return
    if stream.isatty() or os.environ.get("PYTHONIOENCODING"):
        stream.reconfigure(errors="replace")
    else:
        stream.reconfigure(encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib_lora_train", description=__doc__, epilog=_CODES)
    commands = parser.add_subparsers(required=True, metavar="train | resume | regularise | inspect | import | export")

    train = commands.add_parser("train", help="train a LoRA by a recipe", epilog=_CODES)
    train.add_argument("recipe", type=Path, help="recipe file (TOML)")
    train.add_argument("--checkpoint", type=Path, required=True, help="the base, a .safetensors in LDM layout")
    train.add_argument("--out", type=Path, default=Path(), help="folder for the LoRA; runs and cache in train-lora/")
    train.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change an option of the recipe; repeatable"
    )
    train.add_argument("--overwrite", action="store_true", help="replace a LoRA of the same name")
    train.set_defaults(command=_train)

    resume = commands.add_parser("resume", help="go on with an interrupted run", epilog=_CODES)
    resume.add_argument("run", type=Path, help="the run's folder")
    resume.add_argument("--checkpoint", type=Path, help="where the base lies now, if it was moved")
    resume.set_defaults(command=_resume)

    regularise = commands.add_parser(
        "regularise", help="draw the matching regularisation pictures of a recipe", epilog=_CODES
    )
    regularise.add_argument("recipe", type=Path, help="recipe file (TOML)")
    regularise.add_argument("--checkpoint", type=Path, required=True, help="the base that the recipe trains")
    regularise.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="as in train; repeatable")
    regularise.add_argument("--undo", action="store_true", help="delete those that were made, and nothing else")
    regularise.set_defaults(command=_regularise)

    inspect = commands.add_parser("inspect", help="what a LoRA file holds")
    inspect.add_argument("file", type=Path)
    inspect.set_defaults(command=_inspect)
    _recipe_commands(commands)
    for command in (train, resume, regularise, inspect):
        command.add_argument("--json", action="store_true", help="the last line of the output is a JSON object")
    return parser


def _recipe_commands(commands: Any) -> None:
    what = (
        "its recipe, as TOML on the output: of kohya_ss, sd-scripts (TOML, command line), Easy Training Scripts, a LoRA"
    )
    import_ = commands.add_parser("import", help="another program's recipe as ours", description=what)
    import_.add_argument("file", type=Path)
    import_.set_defaults(command=_import)
    export = commands.add_parser("export", help="the recipe of a LoRA or a run, without folders, to hand on")
    export.add_argument("file", type=Path, help="a LoRA, a run's folder or a recipe")
    export.set_defaults(command=_export)


def _train(args: argparse.Namespace) -> int:
    settings = _settings(args.recipe, args.set)
    out = args.out.expanduser().resolve()
    runner = _runner(args.checkpoint, out, out / "train-lora")
    runner.start(settings, args.overwrite)
    return _follow(runner, out, args.json)


def _settings(path: Path, changes: list[str]) -> Settings:
    """The recipe with `FIELD=VALUE` over it; paths become absolute, so that the run can be resumed from anywhere."""
    given: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise SettingsError(f"`--set {change}` has no value.", "Write --set field=value.", name)
        given[name.strip()] = value.strip()
    settings = from_mapping(given, recipe.read(path))
    flat = to_mapping(settings)
    absolute = {name: str(typed_folder(flat[name])) for name in _FOLDERS if flat[name].strip()}
    weights = Path(settings.network.network_weights).expanduser()
    if weights.is_file():  # else it is a name in the LoRA folder
        absolute["network_weights"] = str(weights.resolve())
    return from_mapping(absolute, settings)


def _resume(args: argparse.Namespace) -> int:
    from . import runs

    root = args.run.expanduser().resolve()
    data_dir = root.parent.parent
    origin = runs.read_origin(runs.find(data_dir, root.name))
    if not (args.checkpoint or origin.checkpoint):
        raise SettingsError(
            f"The run {root.name} does not say on which checkpoint it was begun.", "Name it with --checkpoint."
        )
    checkpoint = args.checkpoint or Path(origin.checkpoint)
    out = Path(origin.lora_dir) if origin.lora_dir else data_dir.parent
    runner = _runner(checkpoint, out, data_dir)
    runner.continue_run(root.name)
    return _follow(runner, out, args.json)


def _runner(checkpoint: Path, lora_dir: Path, data_dir: Path) -> JobRunner:
    from ..hosts.standalone import StandaloneHost
    from .jobs import JobRunner

    path = checkpoint.expanduser().resolve()
    if not path.is_file():
        raise SettingsError(f"There is no checkpoint {checkpoint}.", "Check --checkpoint.", "checkpoint")
    return JobRunner(StandaloneHost(path, lora_dir=lora_dir, data_dir=data_dir))


def _follow(runner: JobRunner, lora_dir: Path, as_json: bool) -> int:
    from . import terminal

    outcome = terminal.follow(runner.job, lora_dir)
    if as_json:
        print(json.dumps(outcome.report), flush=True)
    elif outcome.report["lora"]:
        print(outcome.report["lora"], flush=True)
    return _CODE_OF[outcome.state]


def _regularise(args: argparse.Namespace) -> int:
    from . import regularisation, terminal

    settings = _settings(args.recipe, args.set)
    runner = _runner(args.checkpoint, Path(), Path())
    if args.undo:
        report = {"state": "done", "deleted": regularisation.undo(settings, runner.host)}
    else:
        regularisation.start(settings, runner)
        state = terminal.follow(runner.job, Path()).state
        report = {"state": state, **regularisation.look(settings, runner.host).as_dict()}
    print(json.dumps(report) if args.json else report.get("folder", report.get("deleted")), flush=True)
    return _CODE_OF[report["state"]]


def _inspect(args: argparse.Namespace) -> int:
    from ..tools import inspect

    report = inspect.inspect(args.file.expanduser())
    print(json.dumps(asdict(report), default=str) if args.json else inspect.text(report), flush=True)
    return 0


def _import(args: argparse.Namespace) -> int:
    from . import recipes

    print(recipes.imported(args.file), end="", flush=True)
    return 0


def _export(args: argparse.Namespace) -> int:
    from . import recipes

    print(recipes.exported(args.file), end="", flush=True)
    return 0
