"""A process that asks KenLM's own library, which ends a process whose file is damaged without a word.

kenlm_worker.py FILE: one line of JSON for each on standard input, until that ends. First [order, the number of the
state at a sentence's beginning] or {"error": why}. Then [[state, word], ...] -> [[log10 probability, next state], ...].
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any, Dict, List

if sys.path and sys.path[0] == str(Path(__file__).parent):
    del sys.path[0]  # these are parts of asrctl, no modules that a library could mean


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides when this ends
    try:
        import kenlm

        config = kenlm.Config()
        config.show_progress = False
        config.load_method = kenlm.LoadMethod.LAZY
        model = kenlm.Model(sys.argv[1], config)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        _answer({"error": f"{type(error).__name__}: {error}"})
        return 1
    begin = kenlm.State()
    model.BeginSentenceWrite(begin)
    states: List[Any] = [begin]
    numbers: Dict[Any, int] = {begin: 0}
    _answer([model.order, 0])
    for line in sys.stdin:
        found = []
        for before, word in json.loads(line):
            after = kenlm.State()
            log10 = model.BaseScore(states[before], word, after)
            number = numbers.setdefault(after, len(states))
            if number == len(states):
                states.append(after)
            found.append((log10, number))
        _answer(found)
    return 0


def _answer(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
