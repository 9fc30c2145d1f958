from pmnar.data.sources.listing import short_names


def test_short_names_are_unique() -> None:
    synsets = {
        "n1": "tench, Tinca tinca",
        "n2": "crane",
        "n3": "crane, lifting device",
    }
    assert short_names(synsets) == ("tench", "crane (n2)", "crane (n3)")
