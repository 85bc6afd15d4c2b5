"""The command line: `python -m benchmarks losses|audit [--only NAME ...] [--save]`."""

import argparse
import os

# Before any framework starts: threads of one must not spin while another is timed.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=["losses", "audit"])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--shapes", choices=["small", "full"], default="full")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--save", action="store_true", help="into benchmarks/results")
    options = parser.parse_args()

    if options.what == "audit":
        from benchmarks import audit as room

        results = room.run(options.only)
    else:
        from benchmarks import losses as room

        results = room.run(options.only, options.shapes, options.rounds)
    print(room.table(results))
    if options.save:
        room.save(results)


if __name__ == "__main__":
    main()
