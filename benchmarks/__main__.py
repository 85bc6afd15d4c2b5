"""The command line: `python -m benchmarks losses [--save]`, or another subject."""

import argparse
import importlib

from benchmarks import environment

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
    parser.add_argument(
        "--device",
        choices=["cpu", "gpu", "tpu"],
        help="of what is timed; without it the one that JAX finds",
    )
    parser.add_argument(
        "--dispatch",
        choices=["inline", "async"],
        default="inline",
        help="of JAX on a CPU: within the call, as the others do, or by another thread",
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help="into benchmarks/results; without it into build/benchmarks",
    )
    options = parser.parse_args()

    module, rounds = SUBJECTS[options.what]
    # What is not timed needs no accelerator.
    environment.prepare(options.device if rounds else "cpu")
    subject = importlib.import_module(f"benchmarks.{module}")
    if options.what == "readme":
        print(subject.run())
        return
    # They import JAX, whose platforms are now chosen.
    from benchmarks import devices, provenance

    if rounds is None:
        results = subject.run(options.only)
    else:
        devices.dispatch(options.dispatch)
        devices.check(options.device)
        results = subject.run(options.only, options.shapes, options.rounds or rounds)
    print(subject.table(results))
    folder = provenance.RESULTS if options.save else provenance.LATEST
    subject.save(results, folder)
    print(f"Results are in {folder}.")


if __name__ == "__main__":
    main()
