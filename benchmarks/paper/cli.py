"""The command `trocar paper`: its options, and from a run to its files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.paper.setting import PaperConfig, Setting
from service.commands.arguments import count, seed

BACKBONES = ("nano", "tiny", "small", "base_plus", "large")


def main(argv: Sequence[str]) -> int:
    """Run the protocol; returns the exit code. Raises ModelError on bad input."""
    arguments = build_parser().parse_args(argv)
    from benchmarks.paper.methods import chosen
    from models.datasets.registry import parse_choices

    config = PaperConfig(
        dataset=arguments.dataset,
        root=arguments.root,
        setting=Setting.of(arguments.setting),
        out=arguments.out,
        backbone=arguments.backbone,
        checkpoint=arguments.checkpoint,
        image_size=arguments.image_size,
        seeds=arguments.seeds,
        methods=chosen(arguments.methods, arguments.ablations),
        choices=parse_choices(arguments.choice),
        test_cases=arguments.test_cases,
        fit_frames=arguments.fit_frames,
        effort=arguments.effort,
        panels=arguments.panels,
        only=arguments.only,
    )
    return run_paper(config, arguments.note)


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(
        prog="trocar paper",
        description="Fit and test OFL-SAM2, comparators and ablations over seeds; goes on where "
        "it was interrupted. Writes report.md, cases.csv, result.json and panels.",
    )
    parser.add_argument("--dataset", required=True, help="its name, see `trocar data`")
    parser.add_argument("--root", required=True, help="its folder; {seed} stands for the seed")
    parser.add_argument("--setting", required=True, help='"5%%", "3" (volumes) or "8 shots"')
    parser.add_argument("-o", "--out", type=Path, required=True, help="run folder, resumed")
    parser.add_argument("--backbone", choices=BACKBONES, default="nano")
    parser.add_argument(
        "--checkpoint", type=Path, help="weights of the backbone; else what was fetched"
    )
    parser.add_argument("--image-size", type=int, help="of the network; default: its own")
    parser.add_argument("--seeds", type=count, default=5)
    parser.add_argument("--only", type=seed, help="this seed alone, as a part; no report")
    parser.add_argument("--methods", default="all", help="all, none, or names with commas")
    parser.add_argument("--ablations", default="all", help="all, none, or names with commas")
    parser.add_argument(
        "--choice", action="append", default=[], metavar="NAME=VALUE", help="of the data set"
    )
    parser.add_argument("--test-cases", type=count, help="at most so many a seed")
    parser.add_argument("--fit-frames", type=count, default=128, help="at most so many")
    parser.add_argument("--panels", type=count, default=3, help="cases drawn as pictures")
    parser.add_argument(
        "--effort", type=float, default=1.0, help="share of training steps, for a quick try"
    )
    parser.add_argument("--note", default="", help="goes into the result")
    return parser


def run_paper(config: PaperConfig, note: str = "") -> int:
    """From data to files. note: goes into the result. Returns the exit code."""
    from benchmarks.paper.panels import draw_panels
    from benchmarks.paper.report import report, warnings, write_cases
    from benchmarks.paper.run import run
    from benchmarks.paper.summary import summarize
    from benchmarks.paper.weights import open_weights
    from benchmarks.result_file import result, write_result

    results = run(config, open_weights(config))
    if config.only is not None:
        return 0
    summary = summarize(results)
    write_cases(results, config.out / "cases.csv")
    text = report(config, results, summary)
    (config.out / "report.md").write_text(text, encoding="utf-8")
    panels = draw_panels(config, results[0])
    settings = {
        "dataset": config.dataset, "setting": str(config.setting), "backbone": config.backbone,
        "seeds": config.seeds, "test_cases": config.test_cases, "choices": config.choices,
    }  # fmt: skip
    methods = {name: one.json() for name, one in summary.items()}
    write_result(
        result("paper", settings, note, warnings=warnings(config, results), methods=methods),
        config.out / "result.json",
    )
    print(text)
    print(f"report.md, cases.csv, result.json and {len(panels)} panels -> {config.out}")
    return 0
