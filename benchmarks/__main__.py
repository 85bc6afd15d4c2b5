"""The command line: `python -m benchmarks losses [--save]`, or another subject."""

import argparse
import os

# Before any framework starts: threads of one must not spin while another is timed.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what", choices=["losses", "gradients", "kernels", "step", "audit", "aot"]
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument(
        "--shapes", choices=["small", "full"], default="full", help="of what is timed"
    )
    parser.add_argument(
        "--rounds", type=int, help="of a clock: 9 for losses, 15 for step, else 5"
    )
    parser.add_argument("--save", action="store_true", help="into benchmarks/results")
    options = parser.parse_args()

    if options.what == "losses":
        from benchmarks import losses as subject

        results = subject.run(options.only, options.shapes, options.rounds or 9)
    elif options.what == "gradients":
        from benchmarks import per_example_gradients as subject

        results = subject.run(options.only, options.shapes, options.rounds or 5)
    elif options.what == "kernels":
        from benchmarks import kernels as subject

        results = subject.run(options.only, options.shapes, options.rounds or 5)
    elif options.what == "step":
        from benchmarks import step as subject

        results = subject.run(options.only, options.shapes, options.rounds or 15)
    elif options.what == "audit":
        from benchmarks import audit as subject

        results = subject.run(options.only)
    else:
        from benchmarks import aot as subject

        results = subject.run(options.only)
    print(subject.table(results))
    if options.save:
        subject.save(results)


if __name__ == "__main__":
    main()
