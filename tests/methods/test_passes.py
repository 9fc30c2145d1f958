"""The ordered pass, prediction and testing of the base class."""

from typing import Any

import pytest
import torch
from allocations import Allocations
from torch import Tensor, nn
from toy import ABLATIONS, SIZE, fit, make_data, make_method, same_state, state

from pmnar.augment import Normalize
from pmnar.methods import PMNAR
from pmnar.methods.measurement import Outputs, with_ensemble

TWO: dict[str, Any] = ABLATIONS["pmnar"]


class Calls:
    """Counts the forwards of all networks of a method, by mode."""

    def __init__(self, method: PMNAR) -> None:
        self.training = self.eval = 0
        for network in method.networks.values():
            network.register_forward_hook(self._count)

    def _count(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if module.training:
            self.training += 1
        else:
            self.eval += 1


# -- the ordered pass -----------------------------------------------------------------------------


def of(said: Outputs) -> dict[str, Tensor]:
    return {name: output.probabilities for name, output in said.items()}


@pytest.mark.parametrize("name", ["ce", "pmnar"])
def test_the_ordered_pass_is_a_plain_loop_over_the_images_in_order(name: str) -> None:
    data = make_data()
    method = make_method(data, **ABLATIONS[name])
    fit(method, data)
    found = method.ordered_pass(lambda said, batch: {**of(said), "index": batch.indices})
    assert found.keys() == {*method.networks, "index"}
    assert torch.equal(found["index"], torch.arange(SIZE))
    normalize = Normalize([0.3057], [0.3760])
    for network_name, network in method.networks.items():
        network.eval()
        for i in range(SIZE):
            with torch.no_grad():
                p = network(normalize(data.splits["train"].images[i : i + 1])).softmax(-1)
            torch.testing.assert_close(found[network_name][i : i + 1], p)


@pytest.mark.parametrize("training", [True, False])
def test_the_ordered_pass_leaves_the_networks_as_they_were(training: bool) -> None:
    data = make_data()
    method = make_method(data, **TWO)
    fit(method, data)
    method.networks["first"].train(training)
    method.networks["second"].train()
    before = state(method)
    found = method.ordered_pass(lambda said, batch: of(said))
    assert same_state(state(method), before)
    assert all(m.training == training for m in method.networks["first"].modules())
    assert method.networks["second"].training
    assert not found["first"].requires_grad


def test_the_ordered_pass_makes_room_for_its_results_once() -> None:
    data = make_data()
    method = make_method(data, **TWO)
    fit(method, data)
    with Allocations() as allocations:
        found = method.ordered_pass(
            lambda said, batch: {"wide": batch.labels[:, None].repeat(1, 1000)}
        )
    wide = data.splits["train"].labels[:, None].expand(-1, 1000)
    assert torch.equal(found["wide"], wide)
    whole = SIZE * 1000 * wide.itemsize
    assert [made for made in allocations.made if made > whole / 2] == [whole]


def test_measure_gives_confidence_and_prediction() -> None:
    data = make_data()
    method = make_method(data, **TWO)
    fit(method, data)
    p = method.ordered_pass(lambda said, batch: of(said))
    measured = method.measure()
    outputs = {**p, "ensemble": (p["first"] + p["second"]) / 2}
    for name, of_output in outputs.items():
        assert torch.equal(measured.prediction[name], of_output.argmax(-1))
        assert torch.equal(measured.top[name], of_output.max(-1).values)
    for name in ("first", "second"):
        given = data.splits["train"].labels[:, None]
        assert torch.equal(measured.confidence[name], p[name].gather(1, given)[:, 0])
    assert "ensemble" not in measured.confidence


def test_measure_is_kept_until_the_networks_are_trained_further() -> None:
    data = make_data()
    method = make_method(data, **TWO)
    calls = Calls(method)
    fit(method, data, epochs=3)
    batches, tests = 3, 2 + 1
    # After epochs 1, 2 and 3: nothing precedes the warm-up.
    assert calls.eval == 2 * 3 * (batches + tests)
    kept = method.measure()
    assert method.measure() is kept
    assert calls.eval == 2 * 3 * (batches + tests)
    fit(method, data, epochs=4)
    assert method.measure() is not kept


# -- prediction and testing -----------------------------------------------------------------------


def test_prediction_with_first_second_or_ensemble() -> None:
    data = make_data()
    method = make_method(data, **TWO).eval()
    images = torch.randn(5, 1, 8, 8)
    first, second = (method(images, name) for name in ("first", "second"))
    torch.testing.assert_close(first, method.networks["first"](images).softmax(-1))
    assert torch.equal(method(images), (first + second) / 2)
    torch.testing.assert_close(method(images).sum(-1), torch.ones(5))
    single = make_method(data, **ABLATIONS["ce"]).eval()
    assert torch.equal(single(images), single(images, "first"))
    assert single.output_names == ("first",)
    assert method.output_names == ("first", "second", "ensemble")


def test_one_network_has_no_ensemble() -> None:
    alone = {"first": torch.rand(2, 3)}
    assert with_ensemble(alone) is alone


@pytest.mark.parametrize("name", ["ce", "pmnar"])
def test_recorded_accuracy_is_counted_in_a_plain_loop(name: str) -> None:
    data = make_data()
    method = make_method(data, **ABLATIONS[name])
    fit(method, data)
    method.eval()
    row = method.rows[0]
    for split, suffix in (("test", ""), ("other", "_other")):
        images = Normalize([0.3057], [0.3760])(data.splits[split].images)
        labels = data.splits[split].labels.tolist()
        for output in method.output_names:
            said = method(images, output).argmax(-1).tolist()
            right = sum(a == b for a, b in zip(said, labels, strict=True))
            assert row[f"accuracy_{output}{suffix}"] == pytest.approx(right / len(labels))
        if split == "test":
            said = method(images, "first").argmax(-1).tolist()
            for k in range(10):
                of_class = [a == k for a, b in zip(said, labels, strict=True) if b == k]
                recall = float(method.by_class["recall"][k])
                assert recall == pytest.approx(sum(of_class) / len(of_class))
    assert method.by_class.keys() == ({"recall"} if name == "ce" else {"recall", "weight"})
