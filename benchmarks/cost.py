"""How much longer an epoch of each method takes than one of plain cross-entropy."""

from collections.abc import Sequence
from functools import partial

from omegaconf import DictConfig

from benchmarks.counts import network_flops, passes
from benchmarks.measure import Contestant, Result, against, interleaved, markdown
from benchmarks.runs import ABLATIONS, RESNET, Clock, configuration, run_of

OVER = 1.05
"""The most that PMNAR's epoch may take over what the FLOPs say, as a factor."""


def resnet(method: str, *overrides: str, samples: int, batch: int, width: int = 64) -> DictConfig:
    """A method with PreAct ResNet-18 on images of CIFAR's shape, next to nothing to test."""
    return configuration(
        *(*RESNET, f"method={method}", "method.warmup_epochs=0"),
        *(f"data.batch_size={batch}", f"network.width={width}"),
        *overrides,
        images={"samples": samples, "test": 2},
    )


def epoch_of(cfg: DictConfig) -> float:
    """Seconds of a run's second epoch: the first step of a run is longer (see `Step`)."""
    clock = Clock(epochs=2)
    with run_of(cfg, [clock]) as run:
        run.fit()
    return clock.seconds[-1]


def measure(
    methods: Sequence[str] = ABLATIONS,
    *overrides: str,
    rounds: int,
    samples: int,
    batch: int,
    width: int = 64,
) -> list[Result]:
    """Each method's seconds an epoch over cross-entropy's, beside the ratio of their FLOPs."""
    runs: dict[str, Contestant] = {
        method: partial(
            epoch_of, resnet(method, *overrides, samples=samples, batch=batch, width=width)
        )
        for method in methods
    }
    seconds = interleaved(runs, rounds)
    forward, both = network_flops()
    counted = {method: passes(method) for method in methods}
    found = []
    for method in methods:
        ratio = seconds[method].over(seconds["ce"])
        work = counted[method].flops(forward, both) / counted["ce"].flops(forward, both)
        found.append(
            {
                "method": method,
                "seconds an epoch": seconds[method].plain(),
                "over ce": ratio.plain(),
                "shown": str(ratio),
                "FLOPs over ce": work,
                "over FLOPs": ratio.median / work,
            }
        )
    return found


def table(found: Sequence[Result]) -> str:
    """The ratios beside those of the FLOPs."""
    rows = [
        [
            of["method"],
            f"{of['seconds an epoch']['median']:.2f}",
            of["shown"],
            f"{of['FLOPs over ce']:.3f}",
            f"{of['over FLOPs']:.3f}",
            against(of["over FLOPs"], OVER, at_most=True) if of["method"] == "pmnar" else "",
        ]
        for of in found
    ]
    head = ["method", "s an epoch", "÷ ce (rounds' range)", "FLOPs ÷ ce", "time ÷ FLOPs", "bar"]
    return markdown(head, rows) + "\n\n" + NOTE


NOTE = (
    "An epoch after the warm-up, to the next one's beginning, with everything that a run writes; "
    "PreAct ResNet-18 on made-up images of 3×32×32, two of them to test. 14 ÷ 3 is PMNAR's ratio "
    "where a forward counts 1 and a backward 2; the first layer's shorter backward makes it 4.667."
)
