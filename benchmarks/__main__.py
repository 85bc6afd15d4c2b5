"""The command line: `python -m benchmarks losses [--save]`, or another subject."""

import argparse
import importlib
import os

# Before any framework starts: threads of one must not spin while another is timed.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# The module of each subject, and how many rounds of a clock are usual.
SUBJECTS = {
    "losses": ("losses", 9),
    "gradients": ("per_example_gradients", 5),
    "kernels": ("kernels", 5),
    "step": ("step", 15),
    "audit": ("audit", None),
    "aot": ("aot", None),
    "readme": ("readme", None),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=SUBJECTS)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument(
        "--shapes", choices=["small", "full"], default="full", help="of what is timed"
    )
    parser.add_argument(
        "--rounds", type=int, help="of a clock: 9 for losses, 15 for step, else 5"
    )
    parser.add_argument("--save", action="store_true", help="into benchmarks/results")
    options = parser.parse_args()

    if options.what == "readme":
        from benchmarks import readme

        print(readme.run())
        return
    module, rounds = SUBJECTS[options.what]
    subject = importlib.import_module(f"benchmarks.{module}")
    if rounds is None:
        results = subject.run(options.only)
    else:
        results = subject.run(options.only, options.shapes, options.rounds or rounds)
    print(subject.table(results))
    if options.save:
        subject.save(results)


if __name__ == "__main__":
    main()
